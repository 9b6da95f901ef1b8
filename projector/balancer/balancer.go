package balancer

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
	"github.com/projectord/projectord/projector/lease"
)

const (
	// DefaultNamespace is the namespace of a balancer that has no other.
	DefaultNamespace = "balancer"
	// group is the consumer group that all workers of a balancer are in.
	group = "workers"

	maxName = 1024
	maxInfo = 64 << 10
)

// Config configures a [Balancer].
type Config struct {
	// Namespace separates balancers that share a server: [a-z][a-z0-9_]{0,47}. It is the
	// balancer's own; no event store can be in it. Defaults to "balancer".
	Namespace string
	// Partitions is how many partitions a new balancer gets, 1 to 1024; it can never be
	// changed. 0 takes the number there is, and 1 for a new balancer: streams are then
	// handed out in the order of their announcements, and a session costs least. More
	// spread a balancer over the masters of a Redis Cluster.
	Partitions int
}

// Balancer is where streams are announced, and workers join to be given them. It is safe
// for concurrent use and needs no closing; the client belongs to the caller.
type Balancer struct {
	client redis.UniversalClient
	log    *lease.Log
	group  *lease.Group
}

// Open returns the balancer of a namespace, and makes it where there is none. The client
// is a *redis.Client or a *redis.ClusterClient.
//
// Open refuses a server older than Redis 7.0, one whose eviction policy is not noeviction
// (it would delete announcements silently), a namespace in which there is an event store,
// and a balancer that was made with another number of partitions.
func Open(ctx context.Context, client redis.UniversalClient, config Config) (*Balancer, error) {
	config.Namespace = cmp.Or(config.Namespace, DefaultNamespace)
	b, err := open(ctx, client, config)
	if err != nil {
		return nil, fmt.Errorf("opening balancer %q: %w", config.Namespace, err)
	}
	return b, nil
}

func open(ctx context.Context, client redis.UniversalClient, config Config) (*Balancer, error) {
	if err := keyspace.CheckNamespace(config.Namespace); err != nil {
		return nil, err
	}
	if config.Partitions < 0 || config.Partitions > keyspace.MaxPartitions {
		return nil, fmt.Errorf("config: Partitions is %d; it is 1 to %d, or 0 for the default", config.Partitions, keyspace.MaxPartitions)
	}
	if err := redisx.EachMaster(ctx, client, redisx.CheckServer); err != nil {
		return nil, err
	}
	partitions, err := createOrLoad(ctx, client, config)
	if err != nil {
		return nil, err
	}
	log, err := lease.NewLog(client, lease.Config{Namespace: config.Namespace, Partitions: partitions, OneGroup: true})
	if err != nil {
		return nil, err
	}
	b := &Balancer{client: client, log: log, group: log.Existing(group)}
	return b, b.begin(ctx)
}

// createOrLoad settles how many partitions the balancer has.
func createOrLoad(ctx context.Context, client redis.UniversalClient, config Config) (int, error) {
	key := keyspace.Meta(config.Namespace)
	var stored []any
	err := redisx.Retry(ctx, func() error {
		var cmd *redis.SliceCmd
		_, err := client.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
			pipe.HSetNX(ctx, key, keyspace.MetaPartitions, max(1, config.Partitions))
			pipe.HSetNX(ctx, key, keyspace.MetaLayout, keyspace.LayoutBalancer)
			cmd = pipe.HMGet(ctx, key, keyspace.MetaPartitions, keyspace.MetaLayout)
			return nil
		})
		stored = cmd.Val()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("key %s: %w", key, redisx.Explain(err))
	}
	if stored[1] != keyspace.LayoutBalancer {
		return 0, fmt.Errorf("key %s says its layout is %q: it is the namespace of an event store, or of a newer program; give the balancer one of its own", key, stored[1])
	}
	text, _ := stored[0].(string)
	partitions, err := strconv.Atoi(text)
	if err != nil || partitions < 1 || partitions > keyspace.MaxPartitions {
		return 0, fmt.Errorf("key %s says there are %q partitions, which is no number from 1 to %d", key, text, keyspace.MaxPartitions)
	}
	if config.Partitions != 0 && config.Partitions != partitions {
		return 0, fmt.Errorf("%w: it was made with %d partitions, which cannot change; Partitions is %d: set it to %d, or to 0", lease.ErrPartitions, partitions, config.Partitions, partitions)
	}
	return partitions, nil
}

// begin writes what Redis may have lost of the balancer, and refuses one that somebody made
// anew with another number of partitions. It makes the group, where it is missing, and
// announces anew what is in the registry then: the pointers of those streams may have gone
// together with the group.
func (b *Balancer) begin(ctx context.Context) error {
	if _, err := createOrLoad(ctx, b.client, Config{Namespace: b.Namespace(), Partitions: b.Partitions()}); err != nil {
		return err
	}
	if _, err := b.log.Group(ctx, group); err != nil {
		return err
	}
	note, err := b.group.NeedsWalk(ctx)
	if err != nil || note == "" {
		return err
	}
	for p := range b.log.Partitions() {
		var streams []string
		for r, err := range b.group.Registry(ctx, p) {
			if err != nil {
				return err
			}
			streams = append(streams, r.Stream)
		}
		if err := b.log.Announce(ctx, streams); err != nil {
			return err
		}
	}
	return b.group.Walked(ctx, note)
}

// Namespace returns the balancer's namespace.
func (b *Balancer) Namespace() string { return b.log.Namespace() }

// Partitions returns how many partitions the balancer has.
func (b *Balancer) Partitions() int { return b.log.Partitions() }

// Announcement says that there is a stream to be worked on.
type Announcement struct {
	// Stream is its name, 1 to 1,024 bytes of any kind. A stream is one worker's at a time.
	Stream string
	// Info is for whoever is given the stream, this time and after every failover: up to
	// 64 KiB of any kind, such as JSON.
	Info []byte
}

// Announce hands streams out: each will be assigned to a worker, now or when there is one
// with room. A stream that is announced and not finished stays one stream: announced again
// it has the new Info, and whoever has it then is assigned it anew when it finishes, so
// that no announcement is lost.
//
// Announce takes one round trip for any number of streams. After an error some may be
// announced, and they may be announced again: what somebody has finished meanwhile is then
// handed out once more. The same can happen where it is Announce that repeats a round trip
// whose reply was lost, so what a stream's work does has to bear being done again.
func (b *Balancer) Announce(ctx context.Context, announcements ...Announcement) error {
	entries := make([]lease.Entry, len(announcements))
	for i, a := range announcements {
		switch {
		case a.Stream == "" || len(a.Stream) > maxName:
			return fmt.Errorf("balancer: announcing: the name of a stream has %d bytes; it has 1 to %d", len(a.Stream), maxName)
		case len(a.Info) > maxInfo:
			return fmt.Errorf("balancer: announcing %q: its Info has %d bytes; at most %d are kept in Redis for a stream: leave the rest in the stream, and say where", a.Stream, len(a.Info), maxInfo)
		}
		entries[i] = lease.Entry{Stream: a.Stream, Info: a.Info}
	}
	return b.log.Enter(ctx, entries)
}

// Status is a stream that is announced and not finished.
type Status struct {
	Announcement
	// Lane is the name of its lane, empty without [Lanes].
	Lane string
	// Number is that of its last announcement.
	Number uint64
	// Worker is the name of the one that has it, and Session its session. They are empty
	// where no worker that lives has the stream.
	Worker, Session string
}

// Streams returns the streams that are announced and not finished, each once and in no
// order. Those announced or finished meanwhile may be missing or not. It reads pages of
// about 256 and changes nothing. An error ends the sequence.
func (b *Balancer) Streams(ctx context.Context) iter.Seq2[Status, error] {
	return func(yield func(Status, error) bool) {
		lives := make(map[string]string) // workers by session; "" where it is dead
		for p := range b.log.Partitions() {
			for r, err := range b.group.Registry(ctx, p) {
				if err == nil {
					err = b.look(ctx, lives, r.Session)
				}
				s := Status{Announcement: Announcement{Stream: r.Stream, Info: r.Info}, Number: r.Head}
				if s.Worker = lives[r.Session]; s.Worker != "" {
					s.Session = r.Session
				}
				if !yield(s, err) || err != nil {
					return
				}
			}
		}
	}
}

// look finds out whether a session lives that it has not met before.
func (b *Balancer) look(ctx context.Context, lives map[string]string, session string) error {
	if _, known := lives[session]; known || session == "" {
		return nil
	}
	sessions, err := b.log.Live(ctx)
	for _, s := range sessions {
		lives[s.Name] = s.Worker
	}
	if lives[session] == "" {
		lives[session] = "" // known to be dead
	}
	return err
}

// Sessions returns the sessions of workers that live, in the order of their names.
func (b *Balancer) Sessions(ctx context.Context) ([]lease.LiveSession, error) {
	return b.log.Live(ctx)
}
