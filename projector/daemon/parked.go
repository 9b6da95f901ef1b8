package daemon

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
)

func newParked(p *program) *cobra.Command {
	return holder("parked", "List streams that cannot go on, and have them go on",
		`A stream with an event that cannot be applied is parked in the projection concerned: its
document stands before that event, and all other streams go on. With mended code or a
mended backend, retry has it go on; skip leaves the event out for good.`,
		newParkedLs(p), newParkedShow(p), newParkedRetry(p), newParkedSkip(p))
}

// parkedView is a parked stream.
type parkedView struct {
	Projection string    `json:"projection"`
	Generation int       `json:"generation"`
	Stream     string    `json:"stream"`
	Version    uint64    `json:"version"`
	Error      string    `json:"error"`
	Attempts   int       `json:"attempts"`
	Since      time.Time `json:"since"`
	// Outdated says that newer code takes it up by itself.
	Outdated bool `json:"outdated"`
}

func viewParked(r generations.Record, s lease.ParkedStream) parkedView {
	return parkedView{r.Projection, int(r.Generation), s.Stream, s.Version, s.Error, s.Attempts, s.Since, s.Outdated != ""}
}

// recordsOf returns the generations of a projection, or of all.
func (s *space) recordsOf(ctx context.Context, names []string) ([]generations.Record, error) {
	if len(names) > 0 {
		all, err := s.generationsOf(ctx, names[0])
		return all.Records, err
	}
	all, err := s.Generations.All(ctx)
	var records []generations.Record
	for _, name := range slices.Sorted(maps.Keys(all)) {
		records = append(records, all[name].Records...)
	}
	return records, err
}

// foundParked returns a stream of a projection that is parked in one of its generations, or in
// that of a number.
func (s *space) foundParked(ctx context.Context, projection, stream string, number int) (parkedView, error) {
	all, err := s.generationsOf(ctx, projection)
	if err != nil {
		return parkedView{}, err
	}
	if number != 0 {
		if _, err := s.one(all, projection, number, nil, nil); err != nil {
			return parkedView{}, err
		}
	}
	for _, r := range all.Records {
		if number != 0 && int(r.Generation) != number {
			continue
		}
		for parked, err := range s.Log.Existing(group(projection, r.Generation)).Parked(ctx) {
			if err != nil {
				return parkedView{}, err
			}
			if parked.Stream == stream {
				return viewParked(r, parked), nil
			}
		}
	}
	return parkedView{}, absent("%s is not parked in %s: %s lists what is", stream, projection, s.call("parked ls %s", projection))
}
