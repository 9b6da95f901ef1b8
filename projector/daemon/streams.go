package daemon

import (
	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore"
)

func newStreams(p *program) *cobra.Command {
	return holder("streams", "List, read, follow, append to, delete and truncate streams", "",
		newStreamsLs(p), newStreamsShow(p), newStreamsTail(p), newStreamsAppend(p), newStreamsDelete(p), newStreamsTruncate(p))
}

func (s *space) noStream(stream eventstore.StreamID) error {
	return absent("there is no stream %s in namespace %s: %s streams ls lists those there are", stream, s.Namespace, s.app.name())
}
