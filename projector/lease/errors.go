package lease

import "errors"

// When a session or a name begins.
var (
	// ErrNameTaken is wrapped by errors about a worker name that another
	// process holds.
	ErrNameTaken = errors.New("worker name is taken")
)

// When a session or a name ends.
var (
	// ErrFenced is wrapped by errors of a session that is dead: its deadline
	// passed, or others found it so. Whatever it held belongs to others now;
	// the process goes on with a new session.
	ErrFenced = errors.New("session is fenced")
	// ErrStopped is wrapped by errors of calls for a session after
	// [Session.Stop].
	ErrStopped = errors.New("session is stopped")
	// ErrNameLost is wrapped by errors about a worker name whose lock has
	// expired or belongs to another process. The worker stops its session.
	ErrNameLost = errors.New("worker name is lost")
)
