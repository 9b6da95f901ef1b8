package projector_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
)

// Who asks for other options than a generation was begun with is told so.
func TestRebuildWithOtherOptions(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	if _, err := f.generations().Start(t.Context(), "totals", 1); err != nil {
		t.Fatal(err)
	}
	o, p := f.operator(), totalsOf(2, 1)
	begun := generations.Options{Park: true, EventsPerSecond: 5}
	for _, how := range []generations.Options{begun, begun, {}} {
		if record, err := o.Rebuild(t.Context(), p, how); err != nil || record.Generation != 2 || record.Options != begun {
			t.Errorf("with %+v: %+v, %v", how, record, err)
		}
	}
	record, err := o.Rebuild(t.Context(), p, generations.Options{Park: true})
	if !errors.Is(err, projector.ErrOptions) || record.Generation != 2 || !strings.Contains(err.Error(), "generation 2 is being built with other options: {Park:true EventsPerSecond:5}") {
		t.Errorf("with others: %+v, %v", record, err)
	}
}
