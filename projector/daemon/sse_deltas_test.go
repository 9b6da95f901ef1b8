package daemon

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/projectord/projectord/eventstore"
)

// A message comes in fragments, from several producers at once, that no request waits
// for. A reader that loses its connection again and again has the same message in the end
// as the stream, and learns that the stream was removed because nobody wrote to it.
func TestDeltaStream(t *testing.T) {
	onKinds(t, oneServer, func(t *testing.T, redisURL string) {
		const producers, fragments = 3, 100
		s := feedsAt(t, redisURL, App{Name: "shop"}, nil)
		reader := s.listen(streamPath("cart-message"))
		reader.connect() // the stream does not exist yet
		var producing sync.WaitGroup
		for p := range producers {
			producing.Go(func() {
				for i := range fragments {
					s.add("cart-message", fmt.Sprintf("%c%d ", 'a'+p, i))
				}
			})
		}
		complete, removed := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(removed)
			<-complete
			s.retain(time.Now().Add(time.Hour))
		}()
		defer func() { <-removed }()
		defer producing.Wait()
		over := sync.OnceFunc(func() { close(complete) })
		defer over()
		var text strings.Builder
		disconnects := 0
		for {
			m, err := reader.next()
			if err != nil {
				t.Fatal(err)
			}
			if m.name == nameEnd {
				if m.value("reason") != "deleted" || m.value("by") != "retention" || m.id != fmt.Sprint(producers*fragments+1) {
					t.Errorf("the end is %+v", m)
				}
				break
			}
			data, _ := m.value("data").(map[string]any)
			text.WriteString(fmt.Sprint(data["item"]))
			if m.id == fmt.Sprint(producers*fragments) {
				over()
			}
			if rand.IntN(10) == 0 {
				disconnects++
				reader.connect()
			}
		}
		got := strings.Fields(text.String())
		if len(got) != producers*fragments {
			t.Fatalf("the reader has %d fragments, want %d, after %d disconnects", len(got), producers*fragments, disconnects)
		}
		next := make(map[byte]int)
		for _, fragment := range got { // those of one producer stand in its order
			if want := fmt.Sprint(next[fragment[0]]); fragment[1:] != want {
				t.Fatalf("%s comes where %s is next of its producer", fragment, want)
			}
			next[fragment[0]]++
		}
		<-removed
		head, err := s.feeds.head(t.Context(), eventstore.MustStreamID("cart", "message"))
		if err != nil || head.Ended != eventstore.Deleted || disconnects == 0 {
			t.Errorf("the stream stands at %+v, %v, after %d disconnects", head, err, disconnects)
		}
	})
}
