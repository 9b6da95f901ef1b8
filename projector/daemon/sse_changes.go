package daemon

import (
	"context"
	"net/http"
	"slices"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/lease"
)

// nameChange is what a change of a read model is called.
const nameChange = "change"

// Why a client of changes has to begin anew.
const (
	reasonTrimmed  = "trimmed"  // changes that it has not seen are told no longer
	reasonPromoted = "promoted" // readers see another generation
)

// changeView is the data of a change: reading the read model now shows a version of a
// stream, or a later one. Where the projection makes rows that streams share, rows that
// this stream has a part in have changed.
type changeView struct {
	Projection string `json:"projection"`
	Generation int    `json:"generation"`
	Stream     string `json:"stream"`
	Version    uint64 `json:"version"`
	// Parked says that the read model stays as it is until somebody has decided about
	// the event behind.
	Parked bool `json:"parked,omitempty"`
}

// anewView is the data of a reset of the changes of a projection.
type anewView struct {
	Reason     string `json:"reason"`
	Projection string `json:"projection"`
	Generation int    `json:"generation"`
	Text       string `json:"text"`
}

const (
	// turnPointers is how many pointers are read at a time, of all partitions.
	turnPointers = 1024
	// turnWaiting is how many pointers of a partition wait at most to be told. Beyond
	// that the log keeps them.
	turnWaiting = 512
)

// standing is how far a read model has come with a stream.
type standing struct {
	version eventstore.Version
	parked  bool
}

// pending is a pointer that the read model has not come to.
type pending struct {
	entry  lease.EntryID
	stream eventstore.StreamID
	head   eventstore.Version
	since  int // see [lookout.value]
}

// changeFeed is a client that follows what changes in a read model.
type changeFeed struct {
	*follower
	feeds      *feeds
	assignment projector.Assignment // in the generation it is told of; 0 before there is one
	log        *lease.Log
	standings  *standings    // nil until there is a client and a generation
	places     []lease.Place // by partition: to where its log was read
	waiting    [][]pending   // by partition, in the order of the log
	told       string        // where it stood after the last turn
	seen       []int         // by partition: see [lookout.value]
	asked      int           // the same for the generation
}

// changes serves what changes in a read model. Its path has the projection as
// {name}.
//
// A change is told when the read model shows it. Those of one stream come in order. Some
// may be told twice to a client that connects again, and are told apart by stream and
// version; none is left out. The id is where the client stands in the logs of all
// partitions: with the header Last-Event-ID it goes on from there, and without begins with
// what the read model does not show yet. So a client connects, reads what it wants of the
// read model, and from then on what is told to have changed.
func (f *feeds) changes(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	a, err := f.space.assignment(r.Context(), name)
	if err != nil {
		return err
	}
	t := &changeFeed{feeds: f, assignment: a, log: f.space.Log}
	if last := r.Header.Get(lastEventID); last != "" {
		v, err := decodeVector(last, f.space.Namespace, name, t.log.Partitions())
		if err != nil {
			return usage("%s: %w: connect without it, and read everything again", lastEventID, err)
		}
		t.stand(v.generation, v.places)
	} else {
		t.placeNow(r)
	}
	f.follow(w, r, feedChanges, t)
	return nil
}

// placeNow finds out where the client begins before it is answered: what changes from then
// on it relies on being told. Where that cannot be done it is told so later.
func (t *changeFeed) placeNow(r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), placeWithin)
	defer cancel()
	seen, err := t.feeds.activeOf(ctx, []string{t.assignment.Projection.Name()})
	if err != nil || seen[0] == 0 {
		return
	}
	if places, err := t.outset(ctx, seen[0]); err == nil {
		t.stand(seen[0], places)
	}
}

// outset returns the places behind which is all that a generation does not show yet.
func (t *changeFeed) outset(ctx context.Context, g projector.Generation) ([]lease.Place, error) {
	of := t.assignment
	of.Generation = g
	return t.log.Existing(of.Group()).Outset(ctx)
}

// standings looks how far a generation has come with streams, for those who are told of it.
type standings struct {
	*lookout[eventstore.StreamID, standing]
	group string
	users int                // guarded by the mu of feeds
	end   context.CancelFunc // of the lookout
}

// standingsOf returns what looks how far a generation has come with streams, until it is
// given to unuse.
func (f *feeds) standingsOf(a projector.Assignment) *standings {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.standings[a.Group()]
	if s == nil {
		group := f.space.Log.Existing(a.Group())
		s = &standings{group: a.Group(), lookout: newLookout(f, func(ctx context.Context, streams []eventstore.StreamID) ([]standing, error) {
			return standingOf(ctx, a, group, streams)
		})}
		s.ctx, s.end = context.WithCancel(f.ctx)
		f.standings[s.group] = s
	}
	s.users++
	return s
}

// unuse ends what standingsOf began, and with the last that looks. A client names the
// generation it stands in, which need not exist.
func (f *feeds) unuse(s *standings) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.users--; s.users == 0 {
		s.end()
		delete(f.standings, s.group)
	}
}

// standingOf finds out how far a generation has come with streams. Whether one is parked
// is asked first: of one that was parked then, and stands where it does afterwards, all
// that could be told was.
func standingOf(ctx context.Context, a projector.Assignment, group *lease.Group, streams []eventstore.StreamID) ([]standing, error) {
	names := make([]string, len(streams))
	for i, s := range streams {
		names[i] = s.String()
	}
	parked, err := group.AreParked(ctx, names)
	if err != nil {
		return nil, err
	}
	at, _, err := a.Checkpoints(ctx, streams) // one that is damaged counts as none
	if err != nil {
		return nil, err
	}
	all := make([]standing, len(streams))
	for i := range streams {
		all[i] = standing{eventstore.Version(at[i].Position.Major), parked[i]}
	}
	return all, nil
}

func (t *changeFeed) attach(c *follower) {
	t.follower = c
	t.seen = make([]int, t.log.Partitions())
	for p := range t.seen {
		t.seen[p] = t.newest.add(c, p)
	}
	t.asked = t.active.add(c, t.assignment.Projection.Name())
	if t.places != nil {
		t.standings = t.feeds.standingsOf(t.assignment)
		t.mark(t.id())
	}
}

func (t *changeFeed) detach() {
	for p := range t.seen {
		t.newest.drop(t.follower, p)
	}
	t.active.drop(t.follower, t.assignment.Projection.Name())
	t.forget()
	if t.standings != nil {
		t.feeds.unuse(t.standings)
	}
}

func (t *changeFeed) tell() (more bool, err error) {
	if err := t.serve(); err != nil || t.assignment.Generation == 0 {
		return false, err
	}
	t.settle() // which makes room
	more, err = t.advance()
	t.settle()
	return more, err
}

// serve has the client be told of the generation that readers see.
func (t *changeFeed) serve() error {
	seen, known := t.active.value(t.assignment.Projection.Name(), t.asked)
	if !known || seen == 0 || seen == t.assignment.Generation {
		return nil
	}
	if t.assignment.Generation == 0 {
		return t.anew(seen, reasonLate)
	}
	return t.anew(seen, reasonPromoted)
}

// anewTexts says to people what the client has to do.
var anewTexts = map[string]string{
	reasonTrimmed:  "changes were trimmed before they could be told: read everything again",
	reasonPromoted: "readers see another generation: read everything again",
	reasonLate:     "changes are told from now on: read everything again",
}

// anew has the client begin with what a generation does not show yet, and tells it why it
// has to read everything again.
func (t *changeFeed) anew(g projector.Generation, reason string) error {
	var places []lease.Place
	err := t.read(func(ctx context.Context) (err error) {
		places, err = t.outset(ctx, g)
		return err
	})
	if err != nil {
		return err
	}
	t.stand(g, places)
	t.event(nameReset, t.id(), anewView{reason, t.assignment.Projection.Name(), int(g), anewTexts[reason]})
	return nil
}

// stand has the client stand at places, in a generation.
func (t *changeFeed) stand(g projector.Generation, places []lease.Place) {
	t.forget()
	before := t.standings
	t.assignment.Generation, t.places = g, places
	t.waiting = make([][]pending, len(places))
	if t.follower != nil {
		t.standings = t.feeds.standingsOf(t.assignment)
	}
	if before != nil {
		t.feeds.unuse(before)
	}
}

// forget ends the waiting for all streams.
func (t *changeFeed) forget() {
	for _, waiting := range t.waiting {
		for _, w := range waiting {
			t.standings.drop(t.follower, w.stream)
		}
	}
	t.waiting = nil
}

// advance reads on in the logs that have grown.
func (t *changeFeed) advance() (more bool, err error) {
	var from []lease.From
	for p, place := range t.places {
		newest, known := t.newest.value(p, t.seen[p])
		if known && place != (lease.Place{Entry: newest, Done: true}) && len(t.waiting[p]) < turnWaiting {
			from = append(from, lease.From{Partition: p, Place: place})
		}
	}
	if len(from) == 0 {
		return false, nil
	}
	var read []lease.Followed
	err = t.read(func(ctx context.Context) (err error) {
		read, err = t.log.Follow(ctx, from, max(1, turnPointers/len(from)))
		return err
	})
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(read, func(f lease.Followed) bool { return f.Trimmed }) {
		return true, t.anew(t.assignment.Generation, reasonTrimmed)
	}
	for i, f := range read {
		p := from[i].Partition
		for _, pointer := range f.Pointers {
			t.queue(p, pointer)
		}
		t.places[p] = f.Place
		more = more || f.More && len(t.waiting[p]) < turnWaiting
	}
	return more, nil
}

// queue has a pointer be told once the read model has come to it.
func (t *changeFeed) queue(partition int, pointer lease.Pointer) {
	stream, err := eventstore.ParseStreamID(pointer.Stream)
	if err != nil || !slices.Contains(t.assignment.Projection.Categories(), stream.Category()) {
		return // it is not the projection's
	}
	entry, err := lease.ParseEntryID(pointer.ID)
	if err != nil {
		return
	}
	t.waiting[partition] = append(t.waiting[partition], pending{
		entry: entry, stream: stream, head: eventstore.Version(pointer.Head), since: t.standings.add(t.follower, stream),
	})
}

// settle tells what the read model has come to. A pointer does not wait for those before
// it; but where the client stands is before the first that waits.
func (t *changeFeed) settle() {
	var changes []changeView
	at := make(map[eventstore.StreamID]int) // place in changes
	for p, waiting := range t.waiting {
		var kept []pending
		done := make(map[eventstore.StreamID]bool)
		for _, w := range waiting {
			s, known := t.standings.value(w.stream, w.since)
			if !known || s.version < w.head && !s.parked {
				kept = append(kept, w)
				continue
			}
			done[w.stream] = true
			i, found := at[w.stream]
			if !found {
				i = len(changes)
				at[w.stream] = i
				changes = append(changes, changeView{Projection: t.assignment.Projection.Name(), Generation: int(t.assignment.Generation), Stream: w.stream.String()})
			}
			changes[i].Version, changes[i].Parked = max(changes[i].Version, uint64(s.version)), s.parked
		}
		for _, w := range kept {
			delete(done, w.stream)
		}
		for stream := range done {
			t.standings.drop(t.follower, stream)
		}
		t.waiting[p] = kept
	}
	// Where nothing was applied nothing has changed.
	t.announce(slices.DeleteFunc(changes, func(c changeView) bool { return c.Version == 0 }))
}

// announce tells changes, the last of them with where the client stands then. Where there
// are none it is told that the next time something is written anyway.
func (t *changeFeed) announce(changes []changeView) {
	if len(t.waiting) == 0 {
		return
	}
	id := t.id()
	for i, c := range changes {
		if i < len(changes)-1 {
			t.event(nameChange, "", c)
		} else {
			t.event(nameChange, id, c)
		}
	}
	switch {
	case len(changes) > 0:
		t.unmarked = ""
	case id != t.told:
		t.unmarked = id
	}
	t.told = id
}

// id returns where the client stands: before the first pointer of each partition that it
// was not told.
func (t *changeFeed) id() string {
	places := slices.Clone(t.places)
	for p, waiting := range t.waiting {
		if len(waiting) > 0 {
			places[p] = lease.Place{Entry: waiting[0].entry}
		}
	}
	return vector{t.assignment.Generation, places}.encode(t.space.Namespace, t.assignment.Projection.Name())
}
