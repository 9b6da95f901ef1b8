package files_test

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/projectord/projectord/examples/filesink/files"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/sinktest"
)

func TestSink(t *testing.T) {
	sinktest.Run(t, func(t *testing.T) sinktest.DocumentSink {
		dir := t.TempDir()
		return looked{files.New(dir), dir}
	}, sinktest.Features{})
}

// looked is a sink that the suite can look into.
type looked struct {
	*files.Sink
	dir string
}

func (l looked) Document(ctx context.Context, g projector.Generation, key string) (map[string]string, projector.Checkpoint, error) {
	documents, at, err := l.Documents(ctx, g, []string{key})
	if err != nil {
		return nil, projector.Checkpoint{}, err
	}
	return documents[0], at[0], nil
}

func (l looked) Stored(_ context.Context, g projector.Generation, key string) (string, error) {
	text, err := os.ReadFile(filepath.Join(l.dir, strconv.Itoa(int(g)), url.QueryEscape(key)+".json"))
	return string(text), err
}
