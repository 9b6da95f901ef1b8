package pgsink_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/pgsink"
)

// guards are what somebody may put on a table so that it refuses negative numbers: %[1]s
// is the schema, %[2]s the number within a row.
var guards = map[string][]string{
	"Check": {`ALTER TABLE %[1]s.stock_1 ADD CONSTRAINT never_negative CHECK ((%[2]s)::bigint >= 0)`},
	"Trigger": {
		`CREATE FUNCTION %[1]s.guard() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN IF (NEW.%[2]s)::bigint < 0 THEN RAISE EXCEPTION 'never_negative'; END IF; RETURN NEW; END $$`,
		`CREATE TRIGGER guard BEFORE INSERT OR UPDATE ON %[1]s.stock_1 FOR EACH ROW EXECUTE FUNCTION %[1]s.guard()`,
	},
	// This one refuses once all statements are through.
	"DeferredTrigger": {
		`CREATE FUNCTION %[1]s.guard() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN IF (NEW.%[2]s)::bigint < 0 THEN RAISE EXCEPTION 'never_negative'; END IF; RETURN NEW; END $$`,
		`CREATE CONSTRAINT TRIGGER guard AFTER INSERT OR UPDATE ON %[1]s.stock_1
			DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION %[1]s.guard()`,
	},
}

// A document that the table refuses is that document's failure alone, whether it is
// new or takes the place of another.
func TestDocumentsTheTableRefuses(t *testing.T) {
	pool := connect(t)
	for shape, c := range map[string]struct {
		columns []pgsink.Column
		number  string
	}{
		"JSON":  {nil, `document->>'adds'`},
		"Typed": {columns, "adds"},
	} {
		for guard, statements := range guards {
			for where, bad := range map[string][]int{"New": {33}, "There": {200}, "Both": {0, 149, 150, 299}} {
				t.Run(shape+guard+where, func(t *testing.T) {
					ns := testenv.Namespace(t)
					s, err := pgsink.New(pool, ns, "stock", c.columns...)
					if err != nil {
						t.Fatal(err)
					}
					begin(t, s)
					for _, statement := range statements {
						if _, err := pool.Exec(t.Context(), fmt.Sprintf(statement, ns, c.number)); err != nil {
							t.Fatal(err)
						}
					}
					testRefusing(t, s, bad)
				})
			}
		}
	}
}

// testRefusing commits 300 documents, the first half of them new, of which the table
// refuses some.
func testRefusing(t *testing.T, s *pgsink.Sink, bad []int) {
	const documents = 300
	isBad := make(map[int]bool)
	for _, i := range bad {
		isBad[i] = true
	}
	var before, changes []projector.Change
	for i := range documents {
		c := change(fmt.Sprint(i), func(d *projector.Document) { d.SetInt("adds", 1) })
		if i >= documents/2 {
			before = append(before, c)
			c.From = c.To
		}
		c.To, c.Document = at(2), new(projector.Document)
		if isBad[i] {
			c.Document.SetInt("adds", -1)
		} else {
			c.Document.SetInt("adds", 2)
		}
		changes = append(changes, c)
	}
	if refused, err := s.Commit(t.Context(), 1, before); err != nil || refused != nil {
		t.Fatal(refused, err)
	}
	for range 2 { // the second time, what was made counts as made
		refused, err := s.Commit(t.Context(), 1, changes)
		if err != nil || len(refused) != len(changes) {
			t.Fatalf("Commit = %v, %v; want %d documents refused", refused, err, len(bad))
		}
		for i, c := range changes {
			if (refused[i] != nil) != isBad[i] {
				t.Errorf("document %d: %v", i, refused[i])
			}
			want := c.To
			if isBad[i] {
				want = c.From
				for _, word := range []string{c.Stream.String(), "stock_1", "never_negative"} {
					if !strings.Contains(fmt.Sprint(refused[i]), word) {
						t.Errorf("refused with %v; want a word about %q", refused[i], word)
					}
				}
				if errors.Is(refused[i], projector.ErrRefused) {
					t.Errorf("refused with %v, as if somebody else had been first", refused[i])
				}
			}
			wantDocument(t, s, c.Key, want)
		}
	}
	// Somebody who is late is told so beside one that the table refuses.
	late := changes[1]
	late.To = at(2)
	refused, err := s.Commit(t.Context(), 1, []projector.Change{late, changes[bad[0]]})
	if err != nil || len(refused) != 2 || !errors.Is(refused[0], projector.ErrRefused) || refused[1] == nil || errors.Is(refused[1], projector.ErrRefused) {
		t.Errorf("Commit = %v, %v", refused, err)
	}
	// A better document takes the place of the bad one.
	better := changes[bad[0]]
	better.Document = new(projector.Document)
	if refused, err := s.Commit(t.Context(), 1, []projector.Change{better}); err != nil || refused != nil {
		t.Error(refused, err)
	}
	wantDocument(t, s, better.Key, better.To)
}

func wantDocument(t *testing.T, s *pgsink.Sink, key string, want projector.Checkpoint) {
	t.Helper()
	stands, failed, err := s.Checkpoints(t.Context(), 1, []string{key})
	if err != nil || failed != nil || stands[0] != want {
		t.Fatalf("document %s stands at %v, %v, %v; want %s", key, stands, failed, err, want)
	}
}
