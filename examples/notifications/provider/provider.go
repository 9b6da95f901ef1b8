// Package provider is a make-believe of those who deliver: of whoever sends mails, short
// messages and the like for others, by HTTP. It does what the real ones do to their
// callers: it can be slow, fail, refuse, and lose a reply after it has delivered. And it
// counts what it was asked and what it did.
//
// A call is told from its repetition by its key, channel and event id: what was delivered
// under a key is not delivered again, and the call succeeds. It forgets everything when its
// process ends, so that runs apart from those that call it.
package provider

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Delivery is what is to be delivered, or was.
type Delivery struct {
	Channel string `json:"channel"`
	// Event is the id of the event that it is about, and Version its number in the stream
	// of the user.
	Event   string `json:"event"`
	Version uint64 `json:"version"`
	User    string `json:"user"`
	Text    string `json:"text"`
	// Worker is who asked for it.
	Worker string `json:"worker"`
}

func (d Delivery) key() string { return d.Channel + "/" + d.Event }

// Counts is what happened in a channel.
type Counts struct {
	Channel string `json:"channel"`
	// Calls is how many there were. Deliveries is how many of them delivered something,
	// by worker in Workers; Repeated had been delivered before. Failed were answered
	// with 500, Refused with 422, and of Lost the reply was lost behind the delivery.
	Calls      int            `json:"calls"`
	Deliveries int            `json:"deliveries"`
	Repeated   int            `json:"repeated"`
	Failed     int            `json:"failed"`
	Refused    int            `json:"refused"`
	Lost       int            `json:"lost"`
	Workers    map[string]int `json:"workers"`
	// Waiting are the workers with calls that wait because the channel is slow, and how
	// many each has; Slow is how long such a call waits.
	Waiting map[string]int `json:"waiting"`
	Slow    string         `json:"slow,omitempty"`
	// Refuses are the users that nothing is delivered to.
	Refuses []string `json:"refuses"`
}

// Fault is what is to go wrong in a channel. Fields that are zero change nothing.
type Fault struct {
	Channel string `json:"channel"`
	// Slow is how long calls wait before anything is done for them, "0s" for no longer;
	// those that wait then go on at once.
	Slow string `json:"slow,omitempty"`
	// Fail and Lose are of how many of the next calls nothing is done, and the reply is
	// lost.
	Fail int `json:"fail,omitempty"`
	Lose int `json:"lose,omitempty"`
	// Refuse is a user that nothing is delivered to, Accept one that is reached again.
	Refuse string `json:"refuse,omitempty"`
	Accept string `json:"accept,omitempty"`
}

// Config configures a [Provider].
type Config struct {
	// Delivered, where not nil, is called with every delivery before the caller is told.
	// It may be called by several goroutines at once.
	Delivered func(Delivery)
	// Forgetful has it deliver again what it has delivered under the same key.
	Forgetful bool
}

// Provider is an [http.Handler]. It is safe for concurrent use.
type Provider struct {
	config Config
	mux    *http.ServeMux

	mu       sync.Mutex // guards what follows
	channels map[string]*channel
	last     []Delivery // of all channels, the newest last
}

// lastDeliveries is how many are told of all channels together.
const lastDeliveries = 20

// channel is what happened in a channel, and what is to happen.
type channel struct {
	counts    Counts
	done      []Delivery      // in their order
	keys      map[string]bool // of those
	refuses   map[string]bool // by user
	failNext  int
	loseNext  int
	slow      time.Duration
	slowEnded chan struct{} // closed when slow is another
}

// New returns a provider to which nothing has happened.
func New(config Config) *Provider {
	p := &Provider{config: config, mux: http.NewServeMux(), channels: make(map[string]*channel)}
	p.mux.HandleFunc("POST /deliveries", p.postDelivery)
	p.mux.HandleFunc("GET /deliveries", func(w http.ResponseWriter, r *http.Request) { answer(w, p.Last()) })
	p.mux.HandleFunc("GET /channels", func(w http.ResponseWriter, r *http.Request) { answer(w, p.Counts()) })
	p.mux.HandleFunc("POST /faults", p.postFault)
	return p
}

// ServeHTTP implements [http.Handler]. Pages of anybody may ask: nothing real is here.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	p.mux.ServeHTTP(w, r)
}

// in returns a channel. The caller holds mu.
func (p *Provider) in(name string) *channel {
	c := p.channels[name]
	if c == nil {
		c = &channel{
			counts: Counts{Channel: name, Workers: make(map[string]int), Waiting: make(map[string]int)},
			keys:   make(map[string]bool), refuses: make(map[string]bool), slowEnded: make(chan struct{}),
		}
		p.channels[name] = c
	}
	return c
}

func (p *Provider) postDelivery(w http.ResponseWriter, r *http.Request) {
	var d Delivery
	if err := json.NewDecoder(r.Body).Decode(&d); err != nil || d.Channel == "" || d.Event == "" || d.User == "" {
		http.Error(w, "a delivery has a channel, an event and a user", http.StatusBadRequest)
		return
	}
	if err := p.wait(r.Context(), d); err != nil {
		return // whoever called has gone
	}
	switch p.deliver(d) {
	case failed:
		http.Error(w, "something is wrong here", http.StatusInternalServerError)
	case refused:
		http.Error(w, d.User+" cannot be reached by "+d.Channel, http.StatusUnprocessableEntity)
	case lost:
		panic(http.ErrAbortHandler) // closes the connection
	}
}

// wait counts a call, and waits as long as the channel is slow.
func (p *Provider) wait(ctx context.Context, d Delivery) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.in(d.Channel)
	c.counts.Calls++
	if c.slow == 0 {
		return nil
	}
	c.counts.Waiting[d.Worker]++
	timer := time.NewTimer(c.slow)
	ended := c.slowEnded
	p.mu.Unlock()
	defer timer.Stop()
	var err error
	select {
	case <-timer.C:
	case <-ended:
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.mu.Lock()
	if c.counts.Waiting[d.Worker]--; c.counts.Waiting[d.Worker] == 0 {
		delete(c.counts.Waiting, d.Worker)
	}
	return err
}

// outcome is what became of a call.
type outcome int

const (
	delivered outcome = iota
	failed
	refused
	lost
)

func (p *Provider) deliver(d Delivery) outcome {
	is, anew := p.decide(d)
	if anew && p.config.Delivered != nil {
		p.config.Delivered(d)
	}
	return is
}

// decide does what a call asks for. Two calls with one key that come at the same time are
// one delivery.
func (p *Provider) decide(d Delivery) (is outcome, anew bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.in(d.Channel)
	switch {
	case c.failNext > 0:
		c.failNext--
		c.counts.Failed++
		return failed, false
	case c.refuses[d.User]:
		c.counts.Refused++
		return refused, false
	case c.keys[d.key()] && !p.config.Forgetful:
		c.counts.Repeated++
		return delivered, false
	}
	c.keys[d.key()] = true
	c.done = append(c.done, d)
	p.last = append(p.last, d)
	p.last = p.last[max(0, len(p.last)-lastDeliveries):]
	c.counts.Deliveries++
	c.counts.Workers[d.Worker]++
	if c.loseNext > 0 {
		c.loseNext--
		c.counts.Lost++
		return lost, true
	}
	return delivered, true
}

func (p *Provider) postFault(w http.ResponseWriter, r *http.Request) {
	var f Fault
	err := json.NewDecoder(r.Body).Decode(&f)
	if err == nil {
		err = p.Set(f)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

// Set has something go wrong from now on, or no longer.
func (p *Provider) Set(f Fault) error {
	if f.Channel == "" || f.Fail < 0 || f.Lose < 0 {
		return errors.New("a fault has a channel, and numbers from 0 on")
	}
	slow, err := time.ParseDuration(cmp.Or(f.Slow, "0s"))
	if err != nil || slow < 0 {
		return fmt.Errorf("slow is a time with its unit, such as 2s, not %q", f.Slow)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.in(f.Channel)
	c.failNext += f.Fail
	c.loseNext += f.Lose
	if f.Slow != "" {
		c.slow = slow
		close(c.slowEnded)
		c.slowEnded = make(chan struct{})
	}
	if f.Refuse != "" {
		c.refuses[f.Refuse] = true
	}
	delete(c.refuses, f.Accept)
	return nil
}

// Counts returns what happened in each channel, by name.
func (p *Provider) Counts() []Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := []Counts{}
	for _, name := range slices.Sorted(maps.Keys(p.channels)) {
		all = append(all, p.channels[name].copy())
	}
	return all
}

// In returns what happened in a channel.
func (p *Provider) In(name string) Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.in(name).copy()
}

// copy returns the counts as they are now.
func (c *channel) copy() Counts {
	counts := c.counts
	counts.Workers, counts.Waiting = maps.Clone(counts.Workers), maps.Clone(counts.Waiting)
	if c.slow > 0 {
		counts.Slow = c.slow.String()
	}
	counts.Refuses = append([]string{}, slices.Sorted(maps.Keys(c.refuses))...)
	return counts
}

// Deliveries returns what was delivered in a channel, in its order.
func (p *Provider) Deliveries(name string) []Delivery {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.in(name).done)
}

// Last returns the last deliveries of all channels, the newest last.
func (p *Provider) Last() []Delivery {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Delivery{}, p.last...)
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // the caller may have gone
}
