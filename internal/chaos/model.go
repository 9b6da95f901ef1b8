package chaos

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

// category is that of all streams.
const category = "entity"

// noted is the one event there is.
type noted struct {
	N int64 `msgpack:"n"`
}

const notedName = "noted"

func registry() *eventstore.Registry {
	r := eventstore.NewRegistry()
	eventstore.Register[noted](r, notedName, 1)
	return r
}

// stream returns the name of one of the streams.
func stream(i int) eventstore.StreamID {
	return eventstore.MustStreamID(category, fmt.Sprint(i))
}

// event returns the event that a seed has at a version of a stream, in an epoch that
// began when events were lost. Whoever makes it again makes the same one.
func event(seed uint64, s eventstore.StreamID, v eventstore.Version, epoch int) eventstore.Event {
	id := uuid.NewSHA1(uuid.Nil, fmt.Appendf(nil, "%d/%s/%d/%d", seed, s, v, epoch))
	data, err := eventstore.MsgPack{}.Marshal(notedBy(id))
	if err != nil {
		panic(err) // a struct of one integer
	}
	return eventstore.Event{ID: id, Type: notedName, SchemaVersion: 1, Data: data}
}

// notedBy is what is in the event with an id.
func notedBy(id uuid.UUID) noted { return noted{N: int64(id[0]) - 100} }

// The projections.
const (
	effectsName = "effects"
	chainName   = "chain"
	countsName  = "counts"
	callsName   = "calls"
)

// record is what is left of an event in a table.
type record struct {
	stream  string
	version int64
	event   uuid.UUID
}

func (r record) insert(ctx context.Context, tx interface {
	Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
}, table string) error {
	_, err := tx.Exec(ctx, "INSERT INTO "+table+" (stream, version, event) VALUES ($1, $2, $3)", r.stream, r.version, r.event)
	return err
}

// bucket is the row that an event is counted in, one of few that all streams share.
func bucket(id uuid.UUID) string { return fmt.Sprintf("bucket-%d", id[1]%10) }

// The columns of a bucket.
const (
	eventsColumn = "events"
	sumColumn    = "sum"
)

func count(f *projector.Effects, e noted, r *eventstore.Recorded) {
	row := f.Row(bucket(r.ID))
	row.Add(eventsColumn, 1)
	row.Add(sumColumn, e.N)
}

// effects is the projection that counts events and leaves a record of each, which
// attach adds to its effects.
func effects(attach func(*projector.Effects, record)) *projector.Delta {
	p := projector.NewDelta(effectsName, projector.DeltaConfig{Categories: []string{category}, Events: registry()})
	projector.OnDelta(p, func(f *projector.Effects, e noted, r *eventstore.Recorded) {
		count(f, e, r)
		attach(f, record{r.Stream.String(), int64(r.Version), r.ID})
	})
	return p
}

// counts is the projection that only counts.
func counts() *projector.Delta {
	p := projector.NewDelta(countsName, projector.DeltaConfig{Categories: []string{category}, Events: registry()})
	projector.OnDelta(p, count)
	return p
}

// chained is a hash over all events of a stream in their order: one that is missed,
// applied twice or out of order gives another.
type chained struct {
	events int64
	hash   [sha256.Size]byte
}

func (c *chained) add(id uuid.UUID, n int64) {
	text := append(c.hash[:], id[:]...)
	c.hash = sha256.Sum256(binary.BigEndian.AppendUint64(text, uint64(n)))
	c.events++
}

// The fields of a chain's document.
const (
	eventsField = "events"
	hashField   = "hash"
)

func (c *chained) document() map[string]string {
	return map[string]string{eventsField: fmt.Sprint(c.events), hashField: hex.EncodeToString(c.hash[:])}
}

// chain is the projection whose documents are the chains.
func chain() *projector.State[chained] {
	p := projector.NewState(chainName, projector.StateConfig[chained]{
		Categories: []string{category},
		Events:     registry(),
		Document: func(c *chained, d *projector.Document) {
			for field, value := range c.document() {
				d.SetString(field, value)
			}
		},
	})
	projector.OnRecorded(p, func(c *chained, e noted, r *eventstore.Recorded) { c.add(r.ID, e.N) })
	return p
}

// calls is the reactor, which leaves a record of each event it handles.
func calls(pool *pgxpool.Pool) *projector.Reactor {
	p := projector.NewReactor(callsName, projector.ReactorConfig{Categories: []string{category}, Events: registry()})
	projector.OnReact(p, func(ctx context.Context, _ noted, r *eventstore.Recorded) error {
		if pool == nil {
			return nil
		}
		return record{r.Stream.String(), int64(r.Version), r.ID}.insert(ctx, pool, callsName)
	})
	return p
}

// tables creates the tables of the records. Their order tells in which order records
// were made.
func tables(ctx context.Context, conn *pgx.Conn) error {
	for _, name := range []string{effectsName, callsName} {
		_, err := conn.Exec(ctx, "CREATE TABLE "+name+" (place bigserial, stream text, version bigint, event uuid)")
		if err != nil {
			return err
		}
	}
	return naiveTable(ctx, conn)
}
