package lease

import "context"

// Announce adds a pointer with its registered head for each of the streams, as
// every append does; streams without a head are left out. It is for healing, where
// a pointer was lost: for a stream that has nothing new it costs a claim and a
// settlement. After an error some streams may have been announced; announcing them
// again is harmless.
func (l *Log) Announce(ctx context.Context, streams []string) error {
	if len(streams) == 0 {
		return nil
	}
	batches := l.batches(len(streams), func(i int) (string, int) { return streams[i], 0 })
	calls := make([]call, len(batches))
	for i, b := range batches {
		args := make([]any, len(b.items))
		for k, item := range b.items {
			args[k] = streams[item]
		}
		calls[i] = call{
			partition: b.partition,
			keys:      []string{l.keys.Heads(b.partition), l.keys.Log(b.partition)},
			args:      args,
		}
	}
	_, err := l.run(ctx, "announcing", l.scripts.announce, calls)
	return err
}
