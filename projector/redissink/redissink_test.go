package redissink_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/redissink"
	"github.com/projectord/projectord/projector/sinktest"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestSink(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		sinktest.Run(t, func(t *testing.T) sinktest.DocumentSink {
			ns := testenv.Namespace(t)
			return stored{open(t, client, ns), client, ns}
		}, sinktest.Features{})
	})
}

// stored is a sink whose hashes can be looked at.
type stored struct {
	*redissink.Sink
	client redis.UniversalClient
	ns     string
}

// Stored implements [sinktest.DocumentSink].
func (s stored) Stored(ctx context.Context, g projector.Generation, key string) (string, error) {
	name := fmt.Sprintf("%s:cart:current@%d:%s", s.ns, g, key)
	if g == 1 {
		name = fmt.Sprintf("%s:cart:current:%s", s.ns, key)
	}
	fields, err := s.client.HGetAll(ctx, name).Result()
	if err != nil || len(fields) == 0 {
		return "", err
	}
	return fmt.Sprint(fields), nil
}

func open(t *testing.T, client redis.UniversalClient, namespace string) *redissink.Sink {
	t.Helper()
	s, err := redissink.New(client, namespace, "cart:current")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func document(n string) *projector.Document {
	d := new(projector.Document)
	d.SetString("n", n)
	return d
}

func change(id string, n string) projector.Change {
	return projector.Change{
		Stream: eventstore.MustStreamID("cart", id), Key: id, Document: document(n),
		To: projector.Checkpoint{Position: projector.Position{Major: 1}, EventID: uuid.New()},
	}
}

func commit(t *testing.T, s *redissink.Sink, g projector.Generation, c projector.Change) {
	t.Helper()
	refused, err := s.Commit(t.Context(), g, []projector.Change{c})
	if err := errors.Join(append(refused, err)...); err != nil {
		t.Fatal(err)
	}
}

// The keys are a contract with readers in other languages.
func TestKeysAndFields(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		ns := testenv.Namespace(t)
		s, c := open(t, client, ns), change("42", "1")
		commit(t, s, 1, c)
		commit(t, s, 2, c)
		for _, key := range []string{ns + ":cart:current:42", ns + ":cart:current@2:42"} {
			got, err := client.HGetAll(t.Context(), key).Result()
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != 3 || got["n"] != "1" || got["_position"] != "1-0" || got["_event"] != c.To.EventID.String() {
				t.Errorf("%s holds %v", key, got)
			}
		}
	})
}

// So is what is left of a document whose stream was deleted, in whatever order the fields
// were there. What is read follows it.
func TestVanishedHash(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		ns := testenv.Namespace(t)
		s := open(t, client, ns)
		pointers, err := generations.New(client, ns)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pointers.Start(t.Context(), "cart_current", 1); err != nil {
			t.Fatal(err)
		}
		r, err := redissink.NewReader(client, ns, "cart_current", "cart:current")
		if err != nil {
			t.Fatal(err)
		}
		c := change("42", "1")
		for i := range 5000 { // more than one HDEL takes
			c.Document.SetInt(fmt.Sprint("item:", i), 1)
		}
		commit(t, s, 1, c)
		for v := uint64(2); v <= 4; v++ {
			c.From, c.To = c.To, projector.Checkpoint{Position: projector.Position{Major: v}, EventID: uuid.New()}
			want := map[string]string{"_position": fmt.Sprint(v, "-0"), "_event": c.To.EventID.String(), "_deleted": "1"}
			if c.Document = nil; v == 3 {
				c.Document = document("3")
				delete(want, "_deleted")
				want["n"] = "3"
			}
			commit(t, s, 1, c)
			got, err := client.HGetAll(t.Context(), ns+":cart:current:42").Result()
			if err != nil || !maps.Equal(got, want) {
				t.Errorf("the hash holds %.200v, %v; want %v", got, err, want)
			}
			read, at, err := r.Document(t.Context(), "42")
			if err != nil || (read != nil) != (v == 3) || at != c.To {
				t.Errorf("the reader gets %v at %s, %v", read, at, err)
			}
			both, stand, err := s.Documents(t.Context(), 1, []string{"42", "absent"})
			if err != nil || (both[0] != nil) != (v == 3) || stand[0] != c.To || both[1] != nil || !stand[1].IsZero() {
				t.Errorf("Documents = %v at %v, %v", both, stand, err)
			}
		}
	})
}

// A user who may not delete fields is told so before anything is written. The document
// would count as made otherwise, with what had to be erased still in it.
func TestUserWhoMayNotDelete(t *testing.T) {
	server := testenv.StartRedis(t)
	admin := server.Client(t)
	allow := func(rule ...any) {
		t.Helper()
		if err := admin.Do(t.Context(), append([]any{"ACL", "SETUSER", "worker"}, rule...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	allow("on", ">secret", "~*", "+@all", "-hdel")
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), Username: "worker", Password: "secret", MaxRetries: -1, Protocol: 2, DisableIdentity: true})
	defer client.Close()
	s, c := open(t, client, "acl"), change("42", "1")
	commit(t, s, 1, c)
	next := c
	next.From, next.To.Position.Major, next.To.EventID, next.Document = c.To, 2, uuid.New(), nil
	for range 2 {
		if refused, err := s.Commit(t.Context(), 1, []projector.Change{next}); err == nil || refused != nil || !strings.Contains(err.Error(), "HDEL") {
			t.Errorf("Commit = %v, %v; want an error that names HDEL", refused, err)
		}
		if d, at, err := s.Document(t.Context(), 1, "42"); err != nil || d["n"] != "1" || at != c.To {
			t.Errorf("the document is %v at %s, %v; want it unchanged", d, at, err)
		}
	}
	allow("+hdel")
	commit(t, s, 1, next)
	if n := admin.HLen(t.Context(), "acl:cart:current:42").Val(); n != 3 {
		t.Errorf("the hash has %d fields; want its checkpoint and that there is no document", n)
	}
}

// Documents of one call have the fields they were given, whether others have the same ones,
// others, or none, and whether their hashes were there.
func TestNamesOfOneCall(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		s := open(t, client, testenv.Namespace(t))
		want := make(map[string]map[string]string)
		changes := make([]projector.Change, 12)
		for i := range changes {
			changes[i] = change(fmt.Sprint(i), "")
		}
		commit(t, s, 1, changes[3])
		for version := uint64(1); version <= 3; version++ {
			for i := range changes {
				c := &changes[i]
				if version > 1 || i == 3 {
					c.From = c.To
				}
				c.To = projector.Checkpoint{Position: projector.Position{Major: version + 1}, EventID: uuid.New()}
				c.Document, want[c.Key] = new(projector.Document), make(map[string]string)
				switch kind := (i + int(version)) % 8; kind {
				case 0:
					c.Document, want[c.Key] = nil, nil
				case 1: // without fields
				default:
					for f := range kind / 2 {
						name, value := fmt.Sprint("f", kind*f), fmt.Sprint(version, i, f)
						c.Document.SetString(name, value)
						want[c.Key][name] = value
					}
				}
			}
			if refused, err := s.Commit(t.Context(), 1, changes); err != nil || refused != nil {
				t.Fatal(refused, err)
			}
			for i := range changes {
				c := &changes[i]
				if got, at, err := s.Document(t.Context(), 1, c.Key); err != nil || at != c.To || !maps.Equal(got, want[c.Key]) || (got == nil) != (c.Document == nil) {
					t.Errorf("document %s is %v at %s, %v; want %v at %s", c.Key, got, at, err, want[c.Key], c.To)
				}
			}
		}
	})
}

// A key that holds something else is that document's failure alone, names the
// key, and is left as it is.
func TestForeignKeys(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		ns := testenv.Namespace(t)
		s := open(t, client, ns)
		list, hash := ns+":cart:current:list", ns+":cart:current:hash"
		client.LPush(t.Context(), list, "x")
		client.HSet(t.Context(), hash, "mine", "yes")
		changes := []projector.Change{change("list", "1"), change("good", "1"), change("hash", "1")}
		refused, err := s.Commit(t.Context(), 1, changes)
		if err != nil || len(refused) != 3 || refused[1] != nil {
			t.Fatalf("Commit = %v, %v; want the first and last refused", refused, err)
		}
		if msg := refused[0].Error(); !strings.Contains(msg, list) || !strings.Contains(msg, "WRONGTYPE") {
			t.Errorf("the error does not name key and reason: %s", msg)
		}
		if msg := refused[2].Error(); !strings.Contains(msg, hash) || !strings.Contains(msg, "not a read model") {
			t.Errorf("the error does not name key and reason: %s", msg)
		}
		if n := client.HLen(t.Context(), hash).Val(); n != 1 {
			t.Errorf("the foreign hash has %d fields now", n)
		}
		_, failed, err := s.Checkpoints(t.Context(), 1, []string{"good", "list"})
		if err != nil || len(failed) != 2 || failed[0] != nil || failed[1] == nil || !strings.Contains(failed[1].Error(), list) {
			t.Errorf("Checkpoints with that of a list = %v, %v; want it alone to fail", failed, err)
		}
	})
}

func TestDamagedCheckpoint(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		ns := testenv.Namespace(t)
		s := open(t, client, ns)
		commit(t, s, 1, change("42", "1"))
		key := ns + ":cart:current:42"
		client.HSet(t.Context(), key, "_position", "seven")
		_, failed, err := s.Checkpoints(t.Context(), 1, []string{"42"})
		if err != nil || len(failed) != 1 || failed[0] == nil || !strings.Contains(failed[0].Error(), key) {
			t.Errorf("Checkpoints = %v, %v; want an error that names %s", failed, err, key)
		}
		if _, _, err := s.Document(t.Context(), 1, "42"); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("Document = %v; want an error that names %s", err, key)
		}
	})
}

func TestReaderFollowsThePointer(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		ns := testenv.Namespace(t)
		s := open(t, client, ns)
		r, err := redissink.NewReader(client, ns, "cart_current", "cart:current")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.Document(t.Context(), "42"); !errors.Is(err, generations.ErrNotStarted) {
			t.Fatalf("reading before the start: %v", err)
		}
		pointers, err := generations.New(client, ns)
		if err != nil {
			t.Fatal(err)
		}
		if g, err := pointers.Start(t.Context(), "cart_current", 1); err != nil || g.Active != 1 {
			t.Fatalf("Start = %d, %v", g.Active, err)
		}
		one, two := change("42", "one"), change("42", "two")
		commit(t, s, 1, one)
		commit(t, s, 2, two)
		read := func(want string, at projector.Checkpoint) {
			t.Helper()
			documents, checkpoints, err := r.Documents(t.Context(), []string{"42", "absent"})
			if err != nil {
				t.Fatal(err)
			}
			if documents[0]["n"] != want || checkpoints[0] != at || documents[1] != nil || !checkpoints[1].IsZero() {
				t.Errorf("read %v at %v; want n = %s at %s", documents, checkpoints, want, at)
			}
		}
		read("one", one.To)
		key := "{" + ns + "}:projections"
		if err := client.HSet(t.Context(), key, "cart_current", 2).Err(); err != nil {
			t.Fatal(err)
		}
		read("two", two.To)
		if g, err := pointers.Start(t.Context(), "cart_current", 1); err != nil || g.Active != 2 {
			t.Errorf("Start = %d, %v; want the active generation 2", g.Active, err)
		}
		client.HSet(t.Context(), key, "cart_current", "none")
		if _, _, err := r.Document(t.Context(), "42"); err == nil || !strings.Contains(err.Error(), "cart_current") {
			t.Errorf("a damaged pointer: %v", err)
		}
	})
}

func TestReaderContextEnded(t *testing.T) {
	r, err := redissink.NewReader(testenv.Embedded(t), "", "cart_current", "cart:current")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := r.Document(ctx, "42"); !errors.Is(err, context.Canceled) {
		t.Errorf("reading with an ended context: %v", err)
	}
}

func TestModelNames(t *testing.T) {
	for _, model := range []string{"", "a{b", "a}b", "a@2", "a:", strings.Repeat("x", 201), "a\xff"} {
		if _, err := redissink.New(nil, "", model); err == nil {
			t.Errorf("the model name %q was accepted", model)
		}
	}
	if _, err := redissink.New(nil, "No", "m"); err == nil {
		t.Error("the namespace No was accepted")
	}
}

// When memory runs out nothing is written, and the error says what to do.
func TestOutOfMemory(t *testing.T) {
	server := testenv.StartRedis(t)
	client := server.Client(t)
	s := open(t, client, "oom")
	kept := change("kept", "before")
	commit(t, s, 1, kept)
	if err := client.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	next := change("kept", "after")
	next.From = kept.To
	next.To.Position.Major = 2
	_, err := s.Commit(t.Context(), 1, []projector.Change{next, change("new", "1")})
	if err == nil || !strings.Contains(err.Error(), "maxmemory") {
		t.Fatalf("Commit = %v; want an error about maxmemory", err)
	}
	if err := client.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	d, at, err := s.Document(t.Context(), 1, "kept")
	if err != nil || d["n"] != "before" || at != kept.To {
		t.Errorf("the document is %v at %s, %v; want it unchanged", d, at, err)
	}
	commit(t, s, 1, next)
}

func TestEvictionPolicyRefused(t *testing.T) {
	server := testenv.StartRedis(t, "--maxmemory-policy", "allkeys-lru")
	err := open(t, server.Client(t), "evict").Begin(t.Context(), 1)
	if err == nil || !strings.Contains(err.Error(), "noeviction") {
		t.Errorf("Begin = %v; want the refusal of allkeys-lru", err)
	}
}

// A server that was restarted does not know the script any more.
func TestScriptForgotten(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		s := open(t, client, testenv.Namespace(t))
		commit(t, s, 1, change("a", "1"))
		if err := client.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		commit(t, s, 1, change("b", "1"))
	})
}
