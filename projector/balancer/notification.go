package balancer

import "strconv"

// Kind says what a [Notification] tells.
type Kind uint8

const (
	// Assigned says that the stream is this worker's now, and nobody else's, until it
	// finishes it, hands it back, or is told that it is disowned. Who reads late may read of
	// one that was lost meanwhile, and of the next behind it: [Worker.Holds] and
	// [Worker.Context] tell them apart.
	Assigned Kind = 1 + iota
	// Expired says that the stream's worker has died, and that this worker, and no other,
	// may [Worker.Claim] it. It comes only where the configuration has OfferExpired;
	// otherwise such a stream is assigned.
	Expired
	// Disowned says that the stream is not this worker's any more, and why. Whoever works
	// on it stops.
	Disowned
	// Terminated is the last notification: the worker has ended, everything it had is
	// others', and the channel is closed behind it. Err is why, nil after [Worker.Close]
	// and [Worker.Drain].
	Terminated
)

// String returns the name in lower case.
func (k Kind) String() string {
	names := [...]string{Assigned: "assigned", Expired: "expired", Disowned: "disowned", Terminated: "terminated"}
	if int(k) < len(names) && names[k] != "" {
		return names[k]
	}
	return "Kind(" + strconv.Itoa(int(k)) + ")"
}

// Notification tells a worker what became of a stream.
type Notification struct {
	Kind Kind
	// Assignment is the stream's. With [Expired] it has the stream alone; with [Terminated]
	// it is empty, of a [LaneWorker] too.
	Assignment
	// Err is why, with [Disowned] and [Terminated].
	Err error
}

// Assignment is a stream that a worker has. It is what the worker's methods take, as it came:
// a handler acts for its own assignment, and not for a later one of the same stream.
type Assignment struct {
	Stream string
	// Lane is the name of the stream's lane, empty without [Lanes].
	Lane string
	// Info is that of the stream's last announcement. It is not to be changed.
	Info []byte
	// Number is that of the announcement. Later ones of a stream have higher numbers.
	Number uint64
	// Token grows from one assignment of a stream to the next, whoever has it: a fencing
	// token. Where what a worker writes is kept with the token, and a write with a lower
	// one is refused, a worker that was stuck cannot write behind its successor. Tokens are
	// at least the time of the server in µs, so they grow also where Redis has lost the last
	// one; where its clock goes back as well, they may not.
	Token uint64
	// TakenOver says that a worker that died, or handed it back, had the stream before, or was
	// given it beyond its capacity and handed it on unseen.
	TakenOver bool
}
