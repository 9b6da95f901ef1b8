package eventstore_test

import (
	"testing"

	"github.com/projectord/projectord/eventstore"
)

// The fingerprint tells which events have a fold, and not in which order that was said,
// nor which others there are.
func TestFoldsFingerprint(t *testing.T) {
	make := func(fill func(*eventstore.Registry, *eventstore.Folds[int]), options ...eventstore.RegistryOption) string {
		r := eventstore.NewRegistry(options...)
		f := eventstore.NewFolds[int](r)
		fill(r, f)
		return f.Fingerprint()
	}
	foldAdded := func(f *eventstore.Folds[int]) {
		eventstore.AddFold(f, func(*int, added, *eventstore.Recorded) {})
	}
	foldCleared := func(f *eventstore.Folds[int]) {
		eventstore.AddFold(f, func(*int, cleared, *eventstore.Recorded) {})
	}
	both := func(r *eventstore.Registry) {
		eventstore.Register[added](r, "added", 1)
		eventstore.Register[cleared](r, "cleared", 1)
	}
	one := make(func(r *eventstore.Registry, f *eventstore.Folds[int]) { both(r); foldAdded(f); foldCleared(f) })
	if again := make(func(r *eventstore.Registry, f *eventstore.Folds[int]) { both(r); foldCleared(f); foldAdded(f) }); again != one {
		t.Errorf("%q and %q differ", one, again)
	}
	more := make(func(r *eventstore.Registry, f *eventstore.Folds[int]) {
		both(r)
		eventstore.Register[struct{}](r, "other", 1)
		foldAdded(f)
		foldCleared(f)
	})
	if more != one {
		t.Errorf("an event without a fold makes %q of %q", more, one)
	}
	for name, other := range map[string]string{
		"a fold less":  make(func(r *eventstore.Registry, f *eventstore.Folds[int]) { both(r); foldAdded(f) }),
		"another fold": make(func(r *eventstore.Registry, f *eventstore.Folds[int]) { both(r); foldCleared(f) }),
		"an event less": make(func(r *eventstore.Registry, f *eventstore.Folds[int]) {
			eventstore.Register[added](r, "added", 1)
			foldAdded(f)
		}),
		"unknown types skipped": make(func(r *eventstore.Registry, f *eventstore.Folds[int]) { both(r); foldAdded(f); foldCleared(f) },
			eventstore.WithUnknown(eventstore.SkipUnknown)),
		"a newer event": make(func(r *eventstore.Registry, f *eventstore.Folds[int]) {
			eventstore.Register[added](r, "added", 2)
			eventstore.Register[cleared](r, "cleared", 1)
			foldAdded(f)
			foldCleared(f)
		}),
	} {
		if other == one {
			t.Errorf("%s: the fingerprint is the same", name)
		}
	}
}
