package balancer

import "errors"

// When a stream is claimed, finished or handed back.
var (
	// ErrNotHeld is wrapped by errors about an assignment that is not in force: the worker
	// never had the stream, finished it, or was disowned, also where it has it again since.
	ErrNotHeld = errors.New("stream is not this worker's by this assignment")
	// ErrNotOffered is wrapped by errors of [Worker.Claim] about a stream that no Expired
	// was told of, or not any more.
	ErrNotOffered = errors.New("stream is not offered to this worker")
	// ErrTaken is wrapped by errors of [Worker.Claim] about a stream that another worker
	// has.
	ErrTaken = errors.New("stream is another worker's")
	// ErrClosed is wrapped by errors of calls for a worker that has ended, or is ending.
	ErrClosed = errors.New("worker is closed")
)

// Why a stream is disowned; besides these, errors of projector/lease about the session.
var (
	// ErrIdle is wrapped where nobody called [Worker.Progress] for the configured time.
	ErrIdle = errors.New("no progress was made in time")
	// ErrUnclaimed is wrapped where a stream was offered and not claimed in time.
	ErrUnclaimed = errors.New("the offer was not taken up in time")
	// ErrGroupLost is wrapped where Redis has lost what it knew of who has what: somebody
	// deleted keys of the balancer, or data was lost in a failover. Everything is handed
	// out anew.
	ErrGroupLost = errors.New("the records of what was given to workers are lost")
)
