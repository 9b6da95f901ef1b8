// Package keyspace builds every Redis key projectord uses. It is the one place
// where the layout can be read, and the only one where it can be changed.
//
// Everything that belongs to one partition carries the hash tag {ns:p}, so that
// it lies in one slot of a Redis Cluster and one script can touch it. A stream's
// partition is the xxHash64 of its name modulo the number of partitions, which
// is fixed when a namespace is created.
//
//	{ns}:meta              hash    partition count, layout version
//	{ns}:projections       hash    projection → active generation
//	{ns}:generations       hash    <projection>@<generation> → its version and state
//	{ns}:walks             hash    groups whose streams have to be announced
//	{ns}:worker:<name>     string  lock of a worker's name
//	{ns}:role:<role>       string  lock of what one process does for all
//	{ns}:throttle:<group>  string  when what was begun to be built will be done
//	{ns}:forced            stream  what was removed though it may have been needed
//	{ns}:checkpoints       hash    group → partitions its checkpoints are spread over
//	{ns}:adopted           hash    source → what it reads of streams that others write
//	{ns}:adopted:<source>  hash    key → how far it was adopted
//	{ns}:adopted_parked:<source>   hash  key → why it is not adopted any further
//	{ns}:adopted_skipped:<source>  hash  <key>@<entry> → why it was left out and by whom
//	{ns:p}:s:<stream>      stream  the events; entry id <version>-0, one field
//	{ns:p}:heads           hash    stream → head version; behind it d where the stream is deleted, t where tombstoned
//	{ns:p}:ended           hash    stream → version of its last end, while there is
//	                               anything before that
//	{ns:p}:log             stream  the load-balancer stream: a pointer per append
//	{ns:p}:sessions        hash    session → deadline, in ms by the clock of Redis
//	{ns:p}:draining        hash    session → when it was asked to end, in ms
//	{ns:p}:leases:<group>  hash    stream → session that works on it
//	{ns:p}:parked:<group>  hash    stream → why nobody does
//	{ns:p}:skipped:<proj>  hash    <stream>@<version> → why and by whom
//	{ns:p}:backfill:<group>     stream  what a new generation is built from, in chunks
//	{ns:p}:backfilled:<group>   hash    how far that has come
//	{ns:p}:checkpoints:<group>  hash  stream → checkpoint, of effects
//	{ns:p}:snapshot:<def>:<stream>  string  a state that the stream's events add up to
//	{ns:p}:info            hash    stream → what is to be known of it, in a balancer's namespace
//	{ns:p}:numbers         string  the last number given in one, to an announcement or owner
//	<model>:<id>           hash    a document, or row, of generation 1
//	<model>@<gen>:<id>     hash    a document of a later generation
//
// A model's name begins with the namespace and a colon unless that is the
// default one.
package keyspace

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

const (
	// DefaultNamespace is used where none is named.
	DefaultNamespace = "projectord"
	// DefaultPartitions is how many partitions a namespace has unless its
	// creator says otherwise.
	DefaultPartitions = 16
	// MaxPartitions is the most a namespace can have.
	MaxPartitions = 1024
	// Layout is the version of the key layout written to the meta hash.
	Layout = 1
	// LayoutBalancer is written there in its place in the namespace of a balancer, which
	// no event store can be in.
	LayoutBalancer = "balancer-1"
	// MetaLayout is the field of a namespace's settings with the version of the layout.
	MetaLayout = "layout"
	// MetaPartitions is the field of a namespace's settings that says how many
	// partitions it has.
	MetaPartitions = "partitions"
	// MetaDev is the field that says that a namespace is there to try things out, with
	// events that are made up.
	MetaDev = "dev"
	// EventField is the one field of a stream entry: the envelope.
	EventField = "e"
	// HeadDeleted and HeadTombstoned stand behind the version in a head whose event
	// ends the stream.
	HeadDeleted, HeadTombstoned = "d", "t"
	// PointerStream and PointerHead are the fields of a pointer in the log.
	PointerStream, PointerHead = "s", "v"
	// WakeField is the one field of an entry of the log that is no pointer: it
	// has a worker of each group look for the pointers of dead sessions now.
	WakeField = "w"
	// ChunkField is the one field of an entry of a backfill.
	ChunkField = "c"
)

// CheckNamespace returns an error unless name matches [a-z][a-z0-9_]{0,47}: it
// stands in hash tags and names a Postgres schema.
func CheckNamespace(name string) error {
	ok := len(name) > 0 && len(name) <= 48 && 'a' <= name[0] && name[0] <= 'z'
	for i := 1; ok && i < len(name); i++ {
		c := name[i]
		ok = 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_'
	}
	if !ok {
		return fmt.Errorf("namespace %q does not match [a-z][a-z0-9_]{0,47}", name)
	}
	return nil
}

// Meta returns the key of a namespace's own settings.
func Meta(namespace string) string { return "{" + namespace + "}:meta" }

// Projections returns the key of the pointers from projections to their active
// generations, which every reader of a read model follows.
func Projections(namespace string) string { return "{" + namespace + "}:projections" }

// Generations returns the key of what is known of the generations of projections.
func Generations(namespace string) string { return "{" + namespace + "}:generations" }

// Walks returns the key of the groups whose streams have still to be announced.
func Walks(namespace string) string { return "{" + namespace + "}:walks" }

// Forced returns the key of the record of what was removed by force.
func Forced(namespace string) string { return "{" + namespace + "}:forced" }

// Throttle returns the key by which the building of a generation is throttled.
func Throttle(namespace, group string) string { return "{" + namespace + "}:throttle:" + group }

// CheckpointSpread returns the key of the numbers of partitions over which groups
// that make effects have spread their checkpoints.
func CheckpointSpread(namespace string) string { return "{" + namespace + "}:checkpoints" }

// AdoptedSources returns the key of the sources that were adopted into a namespace.
func AdoptedSources(namespace string) string { return "{" + namespace + "}:adopted" }

// Adopted returns the key of how far the keys of a source were adopted.
func Adopted(namespace, source string) string { return "{" + namespace + "}:adopted:" + source }

// AdoptedParked returns the key of those keys of a source that are not adopted any further.
func AdoptedParked(namespace, source string) string {
	return "{" + namespace + "}:adopted_parked:" + source
}

// AdoptedSkipped returns the key of the entries of a source that were left out.
func AdoptedSkipped(namespace, source string) string {
	return "{" + namespace + "}:adopted_skipped:" + source
}

// RowModels is the key of the full names of all read models that have rows in a server,
// of all namespaces.
const RowModels = "{" + DefaultNamespace + "}:row_models"

// Worker returns the key of the lock that keeps a worker's name to one process.
func Worker(namespace, name string) string { return "{" + namespace + "}:worker:" + name }

// Role returns the key of the lock that gives a role to one process.
func Role(namespace, role string) string { return "{" + namespace + "}:role:" + role }

// Namespace builds the keys of partitions. It is immutable and safe for
// concurrent use.
type Namespace struct {
	tags []string // {ns:p} of each partition
}

// New returns the namespace of this name with a number of partitions.
func New(name string, partitions int) *Namespace {
	n := &Namespace{tags: make([]string, partitions)}
	for p := range n.tags {
		n.tags[p] = "{" + name + ":" + strconv.Itoa(p) + "}"
	}
	return n
}

// Partitions returns how many partitions there are.
func (n *Namespace) Partitions() int { return len(n.tags) }

// Partition returns the partition of a stream.
func (n *Namespace) Partition(stream string) int {
	return int(xxhash.Sum64String(stream) % uint64(len(n.tags)))
}

// Stream returns the key of a stream's events.
func (n *Namespace) Stream(stream string) string {
	return n.tags[n.Partition(stream)] + streamKey + stream
}

// AppendStream appends the key of a stream's events to b, given its partition.
func (n *Namespace) AppendStream(b []byte, partition int, stream string) []byte {
	return append(append(append(b, n.tags[partition]...), streamKey...), stream...)
}

// The script that appends finds the name of a stream behind this in its key.
const streamKey = ":s:"

// Heads returns the key of a partition's registry of streams and their heads.
func (n *Namespace) Heads(partition int) string { return n.tags[partition] + ":heads" }

// Ended returns the key of a partition's streams that have ended and may have events
// from before.
func (n *Namespace) Ended(partition int) string { return n.tags[partition] + ":ended" }

// Log returns the key of a partition's load-balancer stream.
func (n *Namespace) Log(partition int) string { return n.tags[partition] + ":log" }

// Sessions returns the key of a partition's sessions and their deadlines.
func (n *Namespace) Sessions(partition int) string { return n.tags[partition] + ":sessions" }

// Draining returns the key of a partition's sessions that were asked to end.
func (n *Namespace) Draining(partition int) string { return n.tags[partition] + ":draining" }

// Leases returns the key of the leases that a group has given out in a partition.
func (n *Namespace) Leases(partition int, group string) string {
	return n.tags[partition] + ":leases:" + group
}

// Parked returns the key of a partition's streams that a group has parked.
func (n *Namespace) Parked(partition int, group string) string {
	return n.tags[partition] + ":parked:" + group
}

// Checkpoints returns the key of the checkpoints that a group which makes effects
// has in a partition.
func (n *Namespace) Checkpoints(partition int, group string) string {
	return n.tags[partition] + ":checkpoints:" + group
}

// Backfill returns the key of the chunks that a new generation is built from in a
// partition.
func (n *Namespace) Backfill(partition int, group string) string {
	return n.tags[partition] + ":backfill:" + group
}

// Backfilled returns the key of how far the backfill of a partition has come.
func (n *Namespace) Backfilled(partition int, group string) string {
	return n.tags[partition] + ":backfilled:" + group
}

// Info returns the key of what is to be known of a partition's streams, where they are
// announced to be handed out and have no events.
func (n *Namespace) Info(partition int) string { return n.tags[partition] + ":info" }

// Numbers returns the key of the last number that was given to an announcement, or to an
// owner, of such streams.
func (n *Namespace) Numbers(partition int) string { return n.tags[partition] + ":numbers" }

// Skipped returns the key of a partition's events that a projection leaves out,
// in all its generations.
func (n *Namespace) Skipped(partition int, projection string) string {
	return n.tags[partition] + ":skipped:" + projection
}

// Snapshot returns the key of the snapshot that a definition has of a stream.
func (n *Namespace) Snapshot(definition, stream string) string {
	return n.tags[n.Partition(stream)] + snapshotOf(definition) + stream
}

// Snapshots returns the pattern that the keys of a definition's snapshots match, in
// all partitions of a namespace.
func Snapshots(namespace, definition string) string {
	return "{" + namespace + ":*}" + snapshotOf(definition) + "*"
}

// SnapshotStream returns the stream that the key of a definition's snapshot is for.
func SnapshotStream(key, definition string) string {
	_, stream, _ := strings.Cut(key, snapshotOf(definition))
	return stream
}

func snapshotOf(definition string) string { return ":snapshot:" + definition + ":" }

// ModelName returns the full name of a read model: in the default namespace the
// model's own, in others with the namespace in front.
func ModelName(namespace, model string) string {
	if namespace == DefaultNamespace {
		return model
	}
	return namespace + ":" + model
}

// Document returns the key of a document, given its model's full name.
func Document(model string, generation int, id string) string {
	if generation == 1 {
		return model + ":" + id
	}
	return model + "@" + strconv.Itoa(generation) + ":" + id
}
