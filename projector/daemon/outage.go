package daemon

import (
	"context"
	"fmt"
	"regexp"
	"time"
)

// silentAfter is how long servers have to be silent for that to be told.
const silentAfter = 2 * time.Second

// outage is when servers are out of reach, for a command that waits until they are back.
// The zero value tells nobody. It is not safe for concurrent use.
type outage struct {
	say  func(text string) // nil for nobody
	note string            // what to say besides
	told string            // what is wrong, as long as it is
}

// outlasts reports whether an error is trouble with a server, which may be over soon, and
// tells of it where that was not told.
func (o *outage) outlasts(err error) bool {
	if exitCode(err) != exitUnavailable {
		return false
	}
	o.tell(err.Error())
	return true
}

// silent is told how long there has been no answer.
func (o *outage) silent(took time.Duration) {
	if took >= silentAfter && o.told == "" {
		o.tell(fmt.Sprintf("nothing has answered for %s", silentAfter))
	}
}

// over is told that there was an answer.
func (o *outage) over() {
	if o.told != "" && o.say != nil {
		o.say("the servers answer again")
	}
	o.told = ""
}

// ownPort is what of an error is another one at each attempt: the port that a connection
// begins at.
var ownPort = regexp.MustCompile(`:\d+->`)

func (o *outage) tell(trouble string) {
	if trouble = ownPort.ReplaceAllString(trouble, "->"); trouble == o.told {
		return
	}
	o.told = trouble
	if o.say != nil {
		o.say(trouble + "; waiting until that is over" + o.note)
	}
}

// outage returns one that is told to who watches the command.
func (p *program) outage() *outage {
	return &outage{say: func(text string) { fmt.Fprintf(p.err, "%s: %s\n", p.app.name(), text) }}
}

// patiently returns what look does, and calls still every so often until then, with how
// long that takes. When ctx ends it returns at once, and leaves look behind: a server
// that hangs does not hold up who wants to leave. Closing the clients ends it then.
func patiently[T any](ctx context.Context, every time.Duration, look func(context.Context) (T, error), still func(took time.Duration)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers, began := make(chan answer, 1), time.Now()
	go func() {
		value, err := look(ctx)
		answers <- answer{value, err}
	}()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case a := <-answers:
			return a.value, a.err
		case <-tick.C:
			still(time.Since(began))
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		}
	}
}
