package snapshots

import "fmt"

// Outcome is what became of a snapshot that was looked for, or was to be stored.
type Outcome int

// Looked for:
const (
	// Used: it was taken for the beginning of the stream.
	Used Outcome = iota
	// Missing: there is none.
	Missing
	// Corrupt: its bytes are damaged.
	Corrupt
	// OtherFold: its fingerprint is another one; the events, folds or the state's type
	// have changed.
	OtherFold
	// OtherSchema: its schema is another one.
	OtherSchema
	// Ahead: the stream ends before it; events were lost.
	Ahead
	// Forked: the event it ends with is another one in the stream.
	Forked
	// Misfit: the events behind it cannot be folded onto it. Either they cannot be
	// folded at all, or a fold has changed and Schema was not raised.
	Misfit
	// Wrong: it is not what the events add up to. Only [States.Verify] finds that.
	Wrong
	// Unproven: the events it was made of were removed, so that nothing can tell what it
	// is worth, and nothing can replace it. Only [States.Verify] finds that.
	Unproven
	// Unavailable: the store failed, was too slow, or is left alone after that.
	Unavailable
)

// To be stored:
const (
	// Saved: it was stored, or a newer one was there.
	Saved Outcome = iota + 100
	// TooLarge: the state is larger than [MaxStateBytes].
	TooLarge
	// Unfaithful: the state does not come back from msgpack as it was.
	Unfaithful
	// Unsaved: the store failed, was too slow, or is left alone after that.
	Unsaved
)

var outcomes = map[Outcome]string{
	Used: "used", Missing: "missing", Corrupt: "corrupt", OtherFold: "other_fold", OtherSchema: "other_schema", Ahead: "ahead",
	Forked: "forked", Misfit: "misfit", Wrong: "wrong", Unproven: "unproven", Unavailable: "unavailable",
	Saved: "saved", TooLarge: "too_large", Unfaithful: "unfaithful", Unsaved: "unsaved",
}

// String returns the outcome in lower case, with underscores: "other_fold".
func (o Outcome) String() string {
	if s, ok := outcomes[o]; ok {
		return s
	}
	return fmt.Sprintf("outcome %d", int(o))
}

// Observation says what became of one snapshot.
type Observation struct {
	Key
	Outcome Outcome
	// Err says why, where there is more to say.
	Err error
}

// Observer is told what became of every snapshot that is looked for or to be stored; of
// one that Load returned, once its user reports that. It is called by several goroutines
// at once, and delays the work until it returns.
type Observer interface {
	ObserveSnapshot(Observation)
}
