package chaos

import (
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Point is a place in the work of a worker where something can happen to it.
type Point string

// The points, in the order in which a worker comes by.
const (
	// AfterPointers is where pointers were received that are not claimed yet.
	AfterPointers Point = "pointers"
	// AfterClaim is where streams were claimed and their checkpoints loaded.
	AfterClaim Point = "claim"
	// AfterRead is where their events were read and folded.
	AfterRead Point = "read"
	// BeforeCommit is where nothing of the commit was sent yet.
	BeforeCommit Point = "commit"
	// InTransaction is where effects are written and the transaction is open.
	InTransaction Point = "transaction"
	// BeforeCOMMIT is where all of a transaction is written but its COMMIT, and
	// AfterCOMMIT where that was sent, and its reply was not read.
	BeforeCOMMIT Point = "COMMIT"
	AfterCOMMIT  Point = "COMMIT sent"
	// AfterScript is where the script that commits to Redis was sent, and its
	// reply was not read.
	AfterScript Point = "script sent"
	// BeforeSettle is where the commit has returned.
	BeforeSettle Point = "settle"
)

// Points are all of them.
var Points = []Point{
	AfterPointers, AfterClaim, AfterRead, BeforeCommit, InTransaction, BeforeCOMMIT, AfterCOMMIT, AfterScript, BeforeSettle,
}

// rounds gives out points in turn, over and over. Its methods are safe for concurrent
// use.
type rounds struct {
	points []Point

	mu  sync.Mutex // protects all below
	due []Point
}

func newRounds(points []Point) *rounds { return &rounds{points: points} }

// next returns the next point.
func (r *rounds) next() Point {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.due) == 0 {
		r.due = slices.Clone(r.points)
	}
	p := r.due[0]
	r.due = r.due[1:]
	return p
}

// again puts a point that no worker came by behind those that are left of the round,
// so that none gets less than its share.
func (r *rounds) again(p Point) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.due = append(r.due, p)
}

// act is what a worker is ordered to do.
type act string

const (
	stop   act = "stop"   // stop at a point, until continued and told to go on
	die    act = "die"    // die at a point
	drop   act = "drop"   // break the connection at a point
	goOn   act = "go on"  // from where it stopped
	forget act = "forget" // what was ordered
	cut    act = "cut"    // cut off replies of Redis
)

// order is a line that the harness writes to a worker.
type order struct {
	Act   act   `json:"act"`
	Point Point `json:"point,omitempty"`
	// Bytes is where the replies are cut, Times how many.
	Bytes int `json:"bytes,omitempty"`
	Times int `json:"times,omitempty"`
}

// saboteur does to its own process what it is ordered to.
type saboteur struct {
	tell func(report)

	mu      sync.Mutex // protects all below
	pending *order
	resume  chan struct{}
}

// obey takes an order.
func (s *saboteur) obey(o order) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch o.Act {
	case goOn:
		if s.resume != nil {
			close(s.resume)
			s.resume = nil
		}
	case forget:
		// Otherwise the report that it reached the point is on its way.
		if s.pending != nil {
			s.pending = nil
			s.tell(report{Kind: forgot})
		}
	default:
		s.pending = &o
	}
}

// at is called where the worker comes by a point, with the streams it works on. It
// reports whether the connection is to be broken.
func (s *saboteur) at(p Point, streams []string) bool {
	s.mu.Lock()
	o := s.pending
	if o == nil || o.Point != p {
		s.mu.Unlock()
		return false
	}
	s.pending = nil
	resume := make(chan struct{})
	s.resume = resume
	s.mu.Unlock()

	s.tell(report{Kind: reached, Point: p, Streams: streams})
	switch o.Act {
	case die:
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		time.Sleep(time.Minute) // never to its end
	case stop:
		syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		// The signal may hit another thread first, so there is more to wait for.
		<-resume
	case drop:
		return true
	}
	return false
}
