package lease

import (
	"errors"
	"fmt"
)

// When a session, a name or a role begins.
var (
	// ErrNameTaken is wrapped by errors about a worker name that another
	// process holds.
	ErrNameTaken = errors.New("worker name is taken")
	// ErrRoleTaken is wrapped by errors about a role that another process has.
	ErrRoleTaken = errors.New("role is taken")
)

// When a group is used.
var (
	// ErrNoGroup is wrapped by errors of calls for a group that a partition
	// does not have, because the server lost it or somebody deleted it.
	// [Log.Group] creates it anew; what the log no longer has, [Log.Announce]
	// brings back.
	ErrNoGroup = errors.New("there is no such group")
	// ErrPartitions is wrapped by errors of a log that was made with another number
	// of partitions than its namespace has.
	ErrPartitions = errors.New("wrong number of partitions")
)

// When a session, a name or a role ends.
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
	// ErrRoleLost is wrapped by errors about a role whose lock has expired or
	// belongs to another process.
	ErrRoleLost = errors.New("role is lost")
)

// SkipError says that a stream is parked, but not at the event that was to be
// skipped. Nothing was written.
type SkipError struct {
	Stream string
	// Version is the event that was to be skipped.
	Version uint64
	// Parking is why the stream is parked. Its Version is 0, and its Error
	// what is stored, where that cannot be read.
	Parking Parking
}

// Error implements error.
func (e *SkipError) Error() string {
	if e.Parking.Version == 0 {
		return fmt.Sprintf("lease: skipping version %d of %s: it is parked, and where cannot be read: %q", e.Version, e.Stream, e.Parking.Error)
	}
	return fmt.Sprintf("lease: skipping version %d of %s: it is parked at version %d: %s", e.Version, e.Stream, e.Parking.Version, e.Parking.Error)
}
