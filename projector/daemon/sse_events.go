package daemon

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/projectord/projectord/eventstore"
)

// What the events of both feeds are called. There is one name for all that is appended,
// whatever its type, because an EventSource hands on only those events whose names the
// page has asked for one by one: a new type would be missed silently. The type is in the
// data.
const (
	nameEvent = "event"
	// nameReset says that what the client was told before does not lead up to what
	// follows.
	nameReset = "reset"
	// nameEnd says that nothing follows. The response ends with it.
	nameEnd = "end"
)

// Why the client is told so.
const (
	reasonTruncated  = "truncated"  // events that it should see now were removed
	reasonRegressed  = "regressed"  // the stream ends before what it has seen: history was lost
	reasonUnreadable = "unreadable" // an event cannot be read
	reasonLate       = "late"       // where it stands was not known when it was answered
)

// resetView is the data of a reset of the events of a stream.
type resetView struct {
	Reason string `json:"reason"`
	// First is the version it goes on with.
	First uint64 `json:"first"`
}

// endView is the data of the end of a stream.
type endView struct {
	// Reason is deleted, tombstoned or unreadable.
	Reason string `json:"reason"`
	// Version is that of the event that ended the stream, or that cannot be read.
	Version uint64 `json:"version"`
	// Text and By are why and who decided it, as far as that was said.
	Text string     `json:"text,omitempty"`
	By   string     `json:"by,omitempty"`
	Time *time.Time `json:"time,omitempty"`
}

const (
	// turnEvents and turnBytes bound what is read for a client at a time. A client that
	// does not read has no more than that, and one event as it is written.
	turnEvents = 64
	turnBytes  = 512 << 10
	// usualEvent is how large an event is taken to be as long as none was seen: as large
	// as it may be, so that the first is read alone.
	usualEvent = eventstore.MaxEventBytes
)

// eventFeed is a client that follows a stream.
type eventFeed struct {
	*follower
	stream eventstore.StreamID
	at     eventstore.Version // the last it was told, or that it need not be told
	from   eventstore.Version // the first it wants
	placed bool               // at is compared with what there is
	end    bool               // it wants only what comes, so at is still to be found out
	usual  int                // bytes of an event, by what was read before
}

// events serves the events of a stream. Its path has the stream as {stream}.
//
// The id of an event is its version. A request begins with the first event, with version
// N by from=N, or with what comes by from=end; the header Last-Event-ID, which a browser
// sends by itself when it connects again, has it go on behind that version instead. A
// stream that does not exist is waited for.
//
// Where a stream has ended, and the client that comes back was told so, it gets the status
// 204, upon which a browser stays away.
func (f *feeds) events(w http.ResponseWriter, r *http.Request) error {
	t := &eventFeed{usual: usualEvent}
	var err error
	if t.stream, err = eventstore.ParseStreamID(r.PathValue("stream")); err == nil {
		err = t.start(r)
	}
	if err != nil {
		return err
	}
	if t.end || r.Header.Get(lastEventID) != "" {
		head, err := f.headNow(r, t.stream)
		switch {
		case err != nil: // it is found out once that can be done
		case t.end:
			t.at, t.end = head.Head, false
		case head.Ended != eventstore.Live && head.Head == t.at:
			// The one answer that keeps a browser from connecting again and again.
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
	}
	f.follow(w, r, feedEvents, t)
	return nil
}

func (t *eventFeed) attach(c *follower) {
	t.follower = c
	t.heads.add(c, t.stream)
}

func (t *eventFeed) detach() { t.heads.drop(t.follower, t.stream) }

// lastEventID is the header that says where a client stood.
const lastEventID = "Last-Event-ID"

// start finds out where the client wants to begin.
func (t *eventFeed) start(r *http.Request) error {
	if last := r.Header.Get(lastEventID); last != "" {
		v, err := strconv.ParseUint(last, 10, 63)
		if err != nil {
			return usage("%s is %q, which is no version: leave it out to begin with the first event", lastEventID, clip(last, 100))
		}
		t.at = eventstore.Version(v)
		return nil
	}
	switch from := r.URL.Query().Get("from"); from {
	case "":
	case "end":
		t.end = true
	default:
		v, err := strconv.ParseUint(from, 10, 63)
		if err != nil {
			return usage("from is a version or end, not %q", clip(from, 100))
		}
		t.from = eventstore.Version(v)
		t.at = max(t.from, 1) - 1
	}
	return nil
}

// headNow returns the head of a stream before a request is answered: a client relies on
// what it is told from then on.
func (f *feeds) headNow(r *http.Request, stream eventstore.StreamID) (eventstore.StreamHead, error) {
	ctx, cancel := context.WithTimeout(r.Context(), placeWithin)
	defer cancel()
	return f.head(ctx, stream)
}

// tell tells what comes next.
func (t *eventFeed) tell() (more bool, err error) {
	if !t.placed {
		if err := t.place(); err != nil {
			return false, err
		}
	}
	if head, known := t.heads.value(t.stream, 0); known && head.Head == t.at {
		return false, nil
	}
	limit := max(1, min(turnEvents, turnBytes/t.usual))
	events, more, err := t.some(limit)
	truncated, broken := new(eventstore.TruncatedError), new(eventstore.EventError)
	switch {
	case errors.As(err, &truncated):
		t.reset(reasonTruncated, truncated.First)
		return true, nil
	case err != nil && !errors.As(err, &broken):
		return false, err
	case err == nil && len(events) == 0:
		return false, t.regressed()
	}
	for i := range events {
		if err := t.one(&events[i], i == len(events)-1); err != nil {
			return false, err
		}
		events[i] = eventstore.Recorded{}
		if t.out.Len() >= pieceBytes {
			if err := t.write(); err != nil {
				return false, err
			}
		}
	}
	if err != nil {
		return false, t.unreadable(broken.Version, broken.Err)
	}
	return more, nil
}

// place compares where the client stands with the stream, and says where that is: a
// client that is gone before it was told anything comes back to the same place.
func (t *eventFeed) place() error {
	head, err := t.head()
	if err != nil {
		return err
	}
	switch {
	case t.end:
		t.end = false
		t.reset(reasonLate, head.Head+1)
	case t.from > 0:
		t.at = min(t.at, head.Head) // what it wants is still to come
	case t.at > head.Head:
		t.reset(reasonRegressed, 1)
	}
	t.mark(t.at.String())
	if head.Ended != eventstore.Live && head.Head == t.at {
		err = t.lastEvent()
	}
	t.placed = err == nil
	return err
}

// head returns what the head is now.
func (t *eventFeed) head() (head eventstore.StreamHead, err error) {
	err = t.read(func(ctx context.Context) (err error) {
		head, err = t.follower.head(ctx, t.stream)
		return err
	})
	return head, err
}

// some returns the next events, and with an [*eventstore.EventError] those before it. It
// reports whether there may be more: it stops at limit, and where they are many bytes.
func (t *eventFeed) some(limit int) (events []eventstore.Recorded, more bool, err error) {
	bytes := 0
	err = t.read(func(ctx context.Context) error {
		for e, err := range t.space.store.Read(ctx, t.stream, eventstore.Range{From: t.at + 1, Limit: limit}) {
			if err != nil {
				return err
			}
			events, bytes = append(events, e), bytes+len(e.Data)
			if bytes >= turnBytes {
				more = true
				break
			}
		}
		return nil
	})
	if len(events) > 0 {
		// At once for larger events, slowly for smaller ones.
		t.usual = max(bytes/len(events), t.usual/2, 1)
	}
	return events, more || len(events) == limit, err
}

// one tells an event.
func (t *eventFeed) one(e *eventstore.Recorded, last bool) error {
	switch {
	case e.Version == t.at+1:
	case e.EndsStream(): // nothing need be left before it
		t.reset(reasonTruncated, e.Version)
	default:
		return t.unreadable(t.at+1, eventstore.ErrHole)
	}
	if last && e.EndsStream() {
		head, err := t.head()
		if err != nil {
			return err
		}
		if head.Head == e.Version {
			return t.ended(e)
		}
	}
	t.at = e.Version
	if e.Version < t.from {
		return nil
	}
	t.event(nameEvent, e.Version.String(), viewEvent(e))
	return nil
}

// lastEvent tells the end of a stream to a client that stands there.
func (t *eventFeed) lastEvent() error {
	t.at--
	events, _, err := t.some(1)
	t.at++
	if err != nil || len(events) == 0 || !events[0].EndsStream() {
		return err // it has changed since, which is looked at anew
	}
	return t.ended(&events[0])
}

// ended tells that the stream has ended.
func (t *eventFeed) ended(e *eventstore.Recorded) error {
	how := eventstore.Deleted
	if e.Type == eventstore.TombstonedType {
		how = eventstore.Tombstoned
	}
	extra := e.Metadata.Extra
	t.event(nameEnd, e.Version.String(), endView{
		Reason: how.String(), Version: uint64(e.Version), Text: extra[eventstore.ReasonKey], By: extra[eventstore.ByKey], Time: &e.Time,
	})
	return errEnded
}

// unreadable tells that an event is in the way of all behind it.
func (t *eventFeed) unreadable(version eventstore.Version, err error) error {
	t.event(nameEnd, "", endView{Reason: reasonUnreadable, Version: uint64(version), Text: err.Error()})
	return errEnded
}

// regressed looks, where nothing lies behind what the client was told, whether that is
// still there itself.
func (t *eventFeed) regressed() error {
	head, err := t.head()
	if err == nil && head.Head < t.at {
		t.reset(reasonRegressed, 1)
		t.poke()
	}
	return err
}

// reset has the client begin anew, with the event of a version.
func (t *eventFeed) reset(reason string, first eventstore.Version) {
	t.at, t.from = first-1, 0
	t.event(nameReset, t.at.String(), resetView{Reason: reason, First: uint64(first)})
}
