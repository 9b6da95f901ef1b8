package redisstore

import (
	"slices"
	"strconv"
	"sync"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
)

// text is an argument of append.lua. go-redis takes it by address, which needs no memory.
type text []byte

// MarshalBinary implements [encoding.BinaryMarshaler].
func (t *text) MarshalBinary() ([]byte, error) { return *t, nil }

// texts gathers what append.lua takes for requests, so that those of one call share their
// memory, and calls that follow each other use the same.
type texts struct {
	buf  []byte
	ends []int // in buf, of each text
	of   []*request
	upto []int  // in ends, of each of those requests
	cuts []text // what lend gave
}

// maxKeptTexts bounds the buffers that are kept for another use.
const maxKeptTexts = maxCallBytes

var textsPool = sync.Pool{New: func() any { return new(texts) }}

// takeTexts returns empty texts. The caller releases them.
func takeTexts() *texts { return textsPool.Get().(*texts) }

// release gives texts back, with whatever is in them.
func (t *texts) release() {
	t.clear()
	if cap(t.buf) <= maxKeptTexts {
		textsPool.Put(t)
	}
}

// clear begins anew. What was lent is not to be used any more.
func (t *texts) clear() {
	clear(t.of)
	t.buf, t.ends, t.of, t.upto = t.buf[:0], t.ends[:0], t.of[:0], t.upto[:0]
}

// done ends a text.
func (t *texts) done() { t.ends = append(t.ends, len(t.buf)) }

// begin adds what stands before the events of a request.
func (t *texts) begin(s *Store, r *request) {
	t.of, t.upto = append(t.of, r), append(t.upto, len(t.ends))
	t.buf = s.keys.AppendStream(t.buf, r.partition, r.append.Stream.String())
	t.done()
	switch r.ends {
	case eventstore.Deleted:
		t.buf = append(t.buf, keyspace.HeadDeleted...)
	case eventstore.Tombstoned:
		t.buf = append(t.buf, keyspace.HeadTombstoned...)
	}
	t.buf = strconv.AppendInt(t.buf, int64(r.append.Expected), 10)
	t.done()
	n := int64(len(r.append.Events))
	if !r.tellsVersions() {
		n = -n
	}
	t.buf = strconv.AppendInt(t.buf, n, 10)
	t.done()
}

// add adds an event.
func (t *texts) add(r *request, e *eventstore.Event) (err error) {
	start := len(t.buf)
	if t.buf, err = eventstore.AppendEnvelope(t.buf, e); err != nil {
		return err
	}
	r.bytes += len(t.buf) - start
	t.done()
	return nil
}

// end adds what stands behind the events of a request.
func (t *texts) end(r *request) {
	if r.tellsVersions() {
		first := uint64(r.base()) + 1
		for i := range r.append.Events {
			t.buf = strconv.AppendUint(t.buf, first+uint64(i), 10)
			t.done()
		}
	}
	t.upto[len(t.upto)-1] = len(t.ends)
}

// drop takes back a request that has begun and not ended.
func (t *texts) drop() {
	last := len(t.of) - 1
	t.ends = t.ends[:t.upto[last]]
	t.of, t.upto = t.of[:last], t.upto[:last]
	t.buf = t.buf[:0]
	if n := len(t.ends); n > 0 {
		t.buf = t.buf[:t.ends[n-1]]
	}
}

// lend gives every request its texts, until t is cleared.
func (t *texts) lend() {
	t.cuts = slices.Grow(t.cuts[:0], len(t.ends))[:len(t.ends)]
	t.cut(t.buf, t.cuts)
}

// give gives every request its texts for good, and begins anew.
func (t *texts) give() {
	t.cut(slices.Clone(t.buf), make([]text, len(t.ends)))
	t.clear()
}

// cut gives every request its part of cuts, and cuts their parts of buf.
func (t *texts) cut(buf []byte, cuts []text) {
	from := 0
	for i, end := range t.ends {
		cuts[i] = buf[from:end:end]
		from = end
	}
	from = 0
	for i, r := range t.of {
		r.args = cuts[from:t.upto[i]:t.upto[i]]
		from = t.upto[i]
	}
}
