package projector

import (
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// affinity says which partitions a session reads first. Of the sessions that read
// a partition each has a weight there, and the heaviest prefers it: all of them
// come to the same result without talking, and one that comes or goes changes it
// for few partitions (rendezvous hashing, Thaler and Ravishankar, 1996). So the
// pointers of a stream mostly go to the worker that has its state.
//
// It is a preference only. A session that has nothing to do reads the others'
// partitions too.
type affinity struct {
	session string
	members map[int][]string // of each partition, as the last sweep found them
}

func newAffinity(session string) *affinity {
	return &affinity{session: session, members: make(map[int][]string)}
}

// mine reports whether the session prefers a partition.
func (a *affinity) mine(partition int) bool {
	own := weight(a.session, partition)
	for _, m := range a.members[partition] {
		if w := weight(m, partition); w > own || w == own && m > a.session {
			return false
		}
	}
	return true
}

func weight(session string, partition int) uint64 {
	return xxhash.Sum64String(session + "/" + strconv.Itoa(partition))
}
