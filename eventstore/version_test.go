package eventstore_test

import (
	"math"
	"testing"

	"github.com/projectord/projectord/eventstore"
)

func TestExpectedVersion(t *testing.T) {
	for _, c := range []struct {
		expected eventstore.ExpectedVersion
		valid    bool
		text     string
	}{
		{eventstore.Any, true, "any"},
		{eventstore.NoStream, true, "no stream"},
		{eventstore.StreamExists, true, "stream exists"},
		{eventstore.Exact(0), true, "version 0"},
		{eventstore.Exact(7), true, "version 7"},
		{eventstore.Exact(math.MaxInt64), true, "version 9223372036854775807"},
		{-4, false, "version -4"},
		{math.MinInt64, false, "version -9223372036854775808"},
	} {
		if c.expected.IsValid() != c.valid || c.expected.String() != c.text {
			t.Errorf("%d: got %t, %q, want %t, %q", int64(c.expected), c.expected.IsValid(), c.expected, c.valid, c.text)
		}
	}
	var zero eventstore.ExpectedVersion
	if zero != eventstore.Exact(0) {
		t.Errorf("the zero value is %s", zero)
	}
}

// A version that was computed as 0 - 1 stays an exact one.
func TestExactStaysExact(t *testing.T) {
	for _, v := range []eventstore.Version{0, 1, math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64 - 3, math.MaxUint64 - 2, math.MaxUint64 - 1, math.MaxUint64} {
		if got := eventstore.Exact(v); got < 0 {
			t.Errorf("Exact(%d) is %s", v, got)
		}
	}
}
