package projector

import (
	"fmt"

	"github.com/projectord/projectord/snapshots"
)

// Assignment is a projection and where one generation of it is kept.
type Assignment struct {
	Projection Projection
	Sink       Sink
	// Generation defaults to 1.
	Generation Generation
	// Snapshots says where and when snapshots of the states of a [State] projection
	// are kept, so that long streams are not folded from their beginning where no
	// state is warm. Its Schema defaults to the version of the projection. The zero
	// Config keeps none.
	Snapshots snapshots.Config
}

// Group returns the name of the consumer group of the assignment's pointers,
// for [lease.Log.Group]: for example "cart_current@1".
func (a Assignment) Group() string {
	return fmt.Sprintf("%s@%d", a.Projection.Name(), a.withDefaults().Generation)
}

func (a Assignment) withDefaults() Assignment {
	if a.Generation == 0 {
		a.Generation = 1
	}
	return a
}

// fits returns an error unless the sink takes what the projection makes.
func (a Assignment) fits() error {
	switch {
	case a.Generation < 1:
		return fmt.Errorf("projection %s: generation %d; they start at 1", a.Projection.Name(), a.Generation)
	case a.Sink.Takes() != a.Projection.Form():
		return fmt.Errorf("projection %s makes %s, but its sink takes %s", a.Projection.Name(), a.Projection.Form(), a.Sink.Takes())
	}
	return a.Projection.check()
}
