package lease

import "fmt"

// Member is a session's part in a group: what one worker does for one
// projection generation. It is safe for concurrent use.
type Member struct {
	log     *Log
	group   *Group
	session *Session
}

// Join returns the session's part in the group. A session can join several
// groups of its log and needs no more heartbeats for that.
func (g *Group) Join(s *Session) *Member {
	return &Member{log: g.log, group: g, session: s}
}

// Group returns the group.
func (m *Member) Group() *Group { return m.group }

// Session returns the session.
func (m *Member) Session() *Session { return m.session }

// A script call takes this many streams and about this many pointers, so that it
// never holds the server for more than a few milliseconds.
const (
	callStreams  = 256
	callPointers = 4096
)

// batch is the items of one script call, by their places in the caller's slice.
type batch struct {
	partition int
	items     []int
	pointers  int
}

// batches divides n items among script calls, given each one's stream and number
// of pointers.
func (l *Log) batches(n int, item func(i int) (stream string, pointers int)) []*batch {
	var all []*batch
	open := make(map[int]*batch) // by partition, the one that takes more
	for i := range n {
		stream, pointers := item(i)
		p := l.keys.Partition(stream)
		b := open[p]
		if b == nil || len(b.items) == callStreams || b.pointers+pointers > callPointers {
			b = &batch{partition: p}
			open[p] = b
			all = append(all, b)
		}
		b.items = append(b.items, i)
		b.pointers += pointers
	}
	return all
}

// fenced reports whether a reply says that the session is dead, which ends it.
func (m *Member) fenced(partition int, reply any) error {
	if reply == int64(codeFenced) {
		return m.session.fenced(partition)
	}
	return nil
}

// strange is the error for a reply that no version of the scripts gives.
func strange(doing string, reply any) error {
	return fmt.Errorf("lease: %s: the script returned %v", doing, reply)
}
