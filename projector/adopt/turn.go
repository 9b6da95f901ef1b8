package adopt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/projectord/projectord/eventstore"
)

const (
	// mostKeys is how many keys are read at a time, mostCount how many entries of each,
	// and budget about how many bytes of all, as entries were until now.
	mostKeys  = 256
	mostCount = 1000
	budget    = 4 << 20
	// sizeUnknown is how large entries of a key are taken to be of which none was read, and
	// sizeNews those of one that had none.
	sizeUnknown = budget / 16
	sizeNews    = 1 << 10
	// An idle key is looked at again after idleLeast, and then less and less often.
	idleLeast = 10 * time.Millisecond
	idleMost  = time.Second
	// heldLeast is the same of one that could not be appended.
	heldLeast = 50 * time.Millisecond
	// mostNamed is how many keys are named at a time where something is wrong with many.
	mostNamed = 20
	// blockMost is how long reading waits for something new.
	blockMost = 250 * time.Millisecond
	// checkEvery is how often it is asked of an idle key what was added and is gone, and
	// refreshEvery how often it is looked whether parked keys were retried.
	checkEvery   = 10 * time.Second
	refreshEvery = 500 * time.Millisecond
)

// key is a key that is read.
type key struct {
	name   string
	pos    Position
	stored string // pos as it is kept; "" where it is not yet
	due    time.Time
	idle   time.Duration // how long it is left alone when it has nothing new
	// held says that it has entries which could not be appended, and are tried again when
	// it is due.
	held bool
	// checked is when Redis was last asked what was added, and since how many entries
	// were done with since then.
	checked time.Time
	since   int64
	// behind is how many entries it has that were not read, when that was measured.
	behind   int64
	measured time.Time
	size     int // bytes that an entry has, about
	parked   bool
	noted    bool // there is a note that it is parked
	below    bool // its ids begin below the position
}

// turn is a time of being at work.
type turn struct {
	*Adopter
	source  Source
	store   eventstore.Store
	reader  *reader
	logger  *slog.Logger
	keys    map[string]*key
	targets *lru.Cache[eventstore.StreamID, *target]
	skips   map[string]Skip
	found   chan []string
	// refreshed is when it was last looked whether parked keys were retried.
	refreshed time.Time
	positions map[string]Position // of keys that are not read yet
	notes     map[string]kept
}

func (a *Adopter) newTurn(ctx context.Context) (*turn, error) {
	t := &turn{
		Adopter: a, source: a.config.Source, store: a.config.Store, logger: a.config.Logger,
		keys: make(map[string]*key), found: make(chan []string), refreshed: time.Now(),
	}
	from := a.config.Source.Client
	if from == nil {
		from = a.config.Client
	}
	t.reader = newReader(from)
	t.targets, _ = lru.New[eventstore.StreamID, *target](targetsKept) // fails for sizes below 1
	var err error
	if err = a.ledger.know(ctx, t.source); err != nil {
		return nil, err
	}
	if t.positions, err = a.ledger.positions(ctx, t.source.Name); err != nil {
		return nil, err
	}
	if t.notes, err = a.ledger.parked(ctx, t.source.Name); err != nil {
		return nil, err
	}
	if t.skips, err = a.ledger.Skips(ctx, t.source.Name); err != nil {
		return nil, err
	}
	// Code that is new here may know what that which parked them did not.
	if !a.tried.Swap(true) {
		for name := range t.notes {
			t.logger.Info("a parked key is tried again, as this process has just begun", "key", name)
		}
	} else {
		for name := range t.notes {
			t.add(name)
			t.keys[name].parked = true
		}
	}
	for _, name := range t.source.Keys {
		t.add(name)
	}
	return t, nil
}

// add has a key be read.
func (t *turn) add(name string) {
	if t.keys[name] != nil || t.source.Client == nil && own(t.config.Namespace, name) {
		return
	}
	k := &key{name: name, idle: idleLeast, size: sizeUnknown}
	if p, ok := t.positions[name]; ok {
		k.pos, k.stored = p, p.text()
		delete(t.positions, name)
	}
	_, k.noted = t.notes[name]
	t.keys[name] = k
}

// discover looks for keys that match the pattern, until ctx ends.
func (t *turn) discover(ctx context.Context) {
	if t.source.Pattern == "" {
		return
	}
	for ctx.Err() == nil {
		err := t.reader.scan(ctx, t.source.Pattern, func(names []string) error {
			select {
			case t.found <- names:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		switch {
		case err == nil:
			t.reads()
		case ctx.Err() == nil:
			t.trouble("new keys cannot be looked for", err)
		}
		pause(ctx, t.source.Discover)
	}
}

// reads notes that the source can be read.
func (t *turn) reads() {
	if !t.up.Swap(true) {
		t.logger.Info("the source is adopted here")
	}
}

// trouble tells of something that is tried again.
func (t *turn) trouble(what string, err error) {
	if t.remind.due(time.Now()) {
		t.logger.Warn(what+", which is tried again", "reason", err)
	}
}

// round reads the keys that it is time for, and adopts what they have.
func (t *turn) round(ctx context.Context) error {
	if err := t.refresh(ctx); err != nil {
		return err
	}
	due := t.due(time.Now())
	if len(due) == 0 {
		t.wait(ctx)
		return nil
	}
	all, err := t.read(ctx, due)
	if err != nil {
		return err
	}
	t.reads()
	if err := t.stands(ctx, due, all); err != nil {
		return err
	}
	failed := make(map[*key]failure)
	var items []item
	now := time.Now()
	for i, k := range due {
		t.recreated(k, &all[i])
		if all[i].err != nil {
			failed[k] = failure{id: k.pos.ID, err: all[i].err}
		}
		of, f, err := t.decode(ctx, k, all[i].entries, now)
		if err != nil {
			return err
		}
		items = append(items, of...)
		if f != nil {
			failed[k] = *f
		}
	}
	refused, err := t.flush(ctx, items)
	if err != nil {
		return err
	}
	for k, f := range refused {
		fail(failed, k, f)
	}
	for _, it := range items {
		if f, fails := failed[it.key]; !fails || it.id.Compare(f.id) < 0 {
			t.counts.events.Add(1)
		}
	}
	return t.done(ctx, due, all, failed)
}

// refresh takes notice of new keys, and of parked ones that were retried.
func (t *turn) refresh(ctx context.Context) error {
	for {
		select {
		case names := <-t.found:
			for _, name := range names {
				t.add(name)
			}
			continue
		default:
		}
		break
	}
	now := time.Now()
	if now.Sub(t.refreshed) < refreshEvery {
		return nil
	}
	t.refreshed = now
	var parked, behind int64
	for _, k := range t.keys {
		if k.parked {
			parked++
		} else {
			behind += k.behind
		}
	}
	t.counts.parked.Store(parked)
	t.counts.behind.Store(behind)
	if parked == 0 {
		return nil
	}
	notes, err := t.ledger.parked(ctx, t.source.Name)
	if err != nil {
		return err
	}
	skips := t.skips
	for name, k := range t.keys {
		if _, still := notes[name]; k.parked && !still {
			if skips, err = t.ledger.Skips(ctx, t.source.Name); err != nil {
				return err
			}
			k.parked, k.noted, k.due, k.idle = false, false, now, idleLeast
		}
	}
	t.skips = skips
	return nil
}

// due returns keys that it is time to read, those first that have waited longest.
func (t *turn) due(now time.Time) (due []*key) {
	for _, k := range t.keys {
		if !k.parked && !k.due.After(now) {
			due = append(due, k)
		}
	}
	slices.SortFunc(due, func(a, b *key) int {
		if c := a.due.Compare(b.due); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
	return due[:min(len(due), mostKeys)]
}

// wait waits until it may be time for a key.
func (t *turn) wait(ctx context.Context) {
	most, now := blockMost, time.Now()
	block := blockMost
	var names []string
	var from []ID
	for name, k := range t.keys {
		if k.parked {
			continue
		}
		most = min(most, max(k.due.Sub(now), 2*idleLeast))
		if k.held { // which has something new anyway
			block = min(block, max(k.due.Sub(now), time.Millisecond))
			continue
		}
		names, from = append(names, name), append(from, k.pos.ID)
	}
	if t.reader.cluster || len(names) == 0 || len(names) > mostKeys {
		pause(ctx, most)
		return
	}
	for name := range t.reader.wait(ctx, names, from, block) {
		if k := t.keys[name]; k != nil {
			k.due, k.idle = now, idleLeast
		}
	}
}

// read reads keys, and asks of those that were read to their ends what was added to them.
func (t *turn) read(ctx context.Context, due []*key) ([]got, error) {
	names, from := make([]string, len(due)), make([]ID, len(due))
	one := 0 // bytes of one entry of each
	for i, k := range due {
		names[i], from[i] = k.name, k.pos.ID
		one += k.size
	}
	count := min(max(budget/one, 1), mostCount)
	all, err := t.reader.read(ctx, names, from, count)
	if err != nil {
		return nil, fmt.Errorf("reading keys of source %s: %w", t.source.Name, err)
	}
	now := time.Now()
	var ends, full []int
	for i, g := range all {
		due[i].learnSize(g.entries)
		quiet := len(g.entries) == 0
		if g.err == nil && len(g.entries) < count && (!quiet || due[i].noted || now.Sub(due[i].checked) > checkEvery) {
			ends = append(ends, i)
		}
		if len(g.entries) == count && now.Sub(due[i].measured) > idleMost {
			full = append(full, i)
		}
	}
	if err := t.measure(ctx, due, all, full); err != nil {
		return nil, err
	}
	if len(ends) == 0 {
		return all, nil
	}
	names, from = names[:0], from[:0]
	for _, i := range ends {
		names = append(names, due[i].name)
		id := due[i].pos.ID
		if n := len(all[i].entries); n > 0 {
			id = all[i].entries[n-1].ID
		}
		from = append(from, id)
	}
	rest, err := t.reader.ends(ctx, names, from, count)
	if err != nil {
		return nil, fmt.Errorf("reading the ends of keys of source %s: %w", t.source.Name, err)
	}
	for n, i := range ends {
		rest[n].entries = append(all[i].entries, rest[n].entries...)
		all[i] = rest[n]
	}
	return all, nil
}

// measure finds out how much keys have that were not read to their ends.
func (t *turn) measure(ctx context.Context, due []*key, all []got, full []int) error {
	if len(full) == 0 {
		return nil
	}
	names := make([]string, len(full))
	for n, i := range full {
		names[n] = due[i].name
	}
	told, err := t.reader.infos(ctx, names)
	if err != nil {
		return fmt.Errorf("asking how much the keys of source %s have: %w", t.source.Name, err)
	}
	for n, i := range full {
		k := due[i]
		k.measured, k.behind = time.Now(), 0
		if told[n].added != Unknown && k.pos.Added != Unknown {
			k.behind = max(told[n].added-k.pos.Added-int64(len(all[i].entries)), 0)
		}
	}
	return nil
}

// learnSize notes how large entries are: larger ones at once, smaller ones by and by.
func (k *key) learnSize(entries []Entry) {
	if len(entries) == 0 {
		if k.size == sizeUnknown {
			k.size = sizeNews
		}
		return
	}
	bytes := 0
	for _, e := range entries {
		bytes += e.size()
	}
	is := max(bytes/len(entries), 64)
	if is < k.size && k.size != sizeUnknown {
		is = (3*k.size + is) / 4
	}
	k.size = min(is, budget)
}

// recreated tells where a key is another one than that which was read before: it was
// deleted and created anew, and entries whose ids are not above the position are never seen.
func (t *turn) recreated(k *key, g *got) {
	if !g.asked || g.gone {
		return
	}
	fewer := g.added != Unknown && k.pos.Added != Unknown && g.added < k.pos.Added
	below := g.last.Compare(k.pos.ID) < 0
	// What was told and counted before this turn began is nothing new.
	if k.checked.IsZero() && below && g.added != Unknown && g.added == k.pos.Added {
		k.below = true
	}
	g.anew = fewer || below && !k.below
	if g.anew {
		t.logger.Warn("the key was deleted and created anew: what it has behind the position is adopted, and what is before that never will be", "key", k.name, "position", k.pos.ID.String())
	}
	k.below = below
}

// done notes what was adopted, and what cannot be.
func (t *turn) done(ctx context.Context, due []*key, all []got, failed map[*key]failure) error {
	now := time.Now()
	var moved []*key
	for i, k := range due {
		g := all[i]
		f, fails := failed[k]
		n := int64(0) // entries that are done with
		next := k.pos
		for _, e := range g.entries {
			if fails && e.ID.Compare(f.id) >= 0 {
				break
			}
			next.ID = e.ID
			n++
		}
		t.counts.entries.Add(n)
		k.since += n
		if next.Added != Unknown {
			next.Added += n
		}
		if g.asked && g.ended && !fails {
			k.ended(t, g, &next)
			k.checked, k.since, k.behind = now, 0, 0
		}
		if next != k.pos {
			k.pos = next
			moved = append(moved, k)
		}
		if fails {
			k.behind = max(k.behind, int64(len(g.entries))-n)
		}
		k.rest(now, n, fails && f.again, len(g.entries) > 0)
	}
	if err := t.move(ctx, moved); err != nil {
		return err
	}
	for i, k := range due {
		f, fails := failed[k]
		switch {
		case fails && f.again:
			t.trouble("entries of a key cannot be appended", fmt.Errorf("key %s from entry %s on: %w", k.name, f.id, f.err))
		case fails:
			if err := t.park(ctx, k, all[i], f); err != nil {
				return err
			}
		case k.noted && (len(all[i].entries) > 0 || all[i].ended):
			k.noted = false
			if _, err := t.ledger.Retry(ctx, t.source.Name, k.name); err != nil {
				return err
			}
		}
		if all[i].gone && !fails && !slices.Contains(t.source.Keys, k.name) {
			t.forget(k)
		}
	}
	return nil
}

// forget has a key not be read any more that is gone, until it is found again. Its position
// stays.
func (t *turn) forget(k *key) {
	delete(t.keys, k.name)
	if k.stored != "" {
		t.positions[k.name] = k.pos
	}
}

// rest says when a key is read again, of which n entries were done with.
func (k *key) rest(now time.Time, n int64, held, news bool) {
	switch {
	case held && (n > 0 || !k.held):
		k.idle = heldLeast
	case news && !held:
		k.idle = idleLeast
	}
	k.held, k.due = held, now
	if held || !news {
		k.due = now.Add(k.idle)
		k.idle = min(2*k.idle, idleMost)
	}
}

// ended counts, at the end of a key, what was added to it and never seen.
func (k *key) ended(t *turn, g got, next *Position) {
	if g.gone {
		return
	}
	lost := int64(0)
	switch {
	case g.added == Unknown, next.Added == Unknown:
	case g.anew:
		lost = max(g.added-k.since, 0)
	default:
		lost = max(g.added-next.Added, 0)
	}
	next.Added = g.added
	if lost == 0 {
		return
	}
	next.Lost += lost
	t.counts.lost.Add(lost)
	t.logger.Warn("entries were trimmed or deleted before they were adopted", "key", k.name, "entries", lost,
		"from", k.pos.ID.String(), "to", next.ID.String())
}

// move writes positions. Where somebody else has got further, that counts.
func (t *turn) move(ctx context.Context, keys []*key) error {
	for len(keys) > 0 {
		moves := make([]move, len(keys))
		for i, k := range keys {
			moves[i] = move{k.name, k.stored, k.pos.text()}
		}
		stands, err := t.ledger.move(ctx, t.source.Name, moves)
		if err != nil {
			return err
		}
		var again []*key
		var back []string
		for i, k := range keys {
			is := stands[i]
			if is == "" || is == moves[i].to { // the latter where a reply was lost
				k.stored = moves[i].to
				continue
			}
			switch behind, err := k.isBehind(strings.TrimSpace(is)); {
			case err != nil:
				return err
			case behind:
				back = append(back, k.name)
			default:
				p, err := parsePosition(is)
				if err != nil {
					return fmt.Errorf("the position of %s: %w", k.name, err)
				}
				k.stored = is
				if p.ID.Compare(k.pos.ID) >= 0 {
					k.pos, k.since = p, 0 // somebody else is at work too
					continue
				}
				k.pos.Lost = max(k.pos.Lost, p.Lost)
				again = append(again, k)
			}
		}
		if len(back) > 0 {
			return t.wentBack("keys", back)
		}
		keys = again
	}
	return nil
}

// errWentBack says that a namespace does not have what was written to it and acknowledged,
// as after a failover of its Redis.
var errWentBack = errors.New("the namespace has gone back behind what was adopted into it")

// wentBack ends the turn: what it knows does not hold any more. The next one takes the
// positions that there are, and reads again what is behind them.
func (t *turn) wentBack(what string, names []string) error {
	t.logger.Warn("the namespace has gone back behind what was adopted into it, as after a failover of its Redis: what its positions do not count is read again", what, strings.Join(names[:min(len(names), mostNamed)], " "), "of", len(names))
	return errWentBack
}

// isBehind reports whether the position that is kept of a key is behind the one that was.
func (k *key) isBehind(is string) (bool, error) {
	if k.stored == "" || is == k.stored {
		return false, nil
	}
	if is == "" {
		return true, nil
	}
	p, err := parsePosition(is)
	if err != nil {
		return false, fmt.Errorf("the position of %s: %w", k.name, err)
	}
	was, err := parsePosition(k.stored)
	return p.ID.Compare(was.ID) < 0, err
}

// stands returns an error where the namespace has gone back: before anything is appended
// by what is known of it, and now and then for keys that have nothing new.
func (t *turn) stands(ctx context.Context, due []*key, all []got) error {
	var keys []*key
	var names []string
	for i, k := range due {
		if k.stored != "" && (len(all[i].entries) > 0 || all[i].asked) {
			keys, names = append(keys, k), append(names, k.name)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	texts, err := t.ledger.texts(ctx, t.source.Name, names)
	if err != nil {
		return err
	}
	var back []string
	for i, k := range keys {
		behind, err := k.isBehind(texts[i])
		if err != nil {
			return err
		}
		if behind {
			back = append(back, k.name)
		}
	}
	if len(back) > 0 {
		return t.wentBack("keys", back)
	}
	return nil
}

const (
	// How much of an entry that cannot be adopted is kept.
	mostFieldsKept = 100
	mostValueKept  = 1 << 10
)

// park notes that a key is not adopted any further.
func (t *turn) park(ctx context.Context, k *key, g got, f failure) error {
	if g.err == nil {
		if past, err := t.isPast(ctx, k, f.id); past || err != nil {
			return err
		}
	}
	p := Parking{Entry: f.id, Reason: clipTo(f.err.Error(), mostValueKept), Since: time.Now().UTC(), Fields: []Field{}}
	if was, ok := t.notes[k.name]; ok && k.noted && was.Entry == f.id {
		p.Since = was.Since
	}
	for _, e := range g.entries {
		if e.ID != f.id || g.err != nil {
			continue
		}
		for _, field := range e.Fields[:min(len(e.Fields), mostFieldsKept)] {
			p.Fields = append(p.Fields, Field{clipTo(field.Name, mostValueKept), clipTo(field.Value, mostValueKept)})
		}
	}
	if err := t.ledger.park(ctx, t.source.Name, k.name, p); err != nil {
		return err
	}
	k.parked, k.noted = true, true
	t.logger.Error("a key is parked: nothing behind the entry is adopted until it is retried or the entry is skipped", "key", k.name, "entry", f.id.String(), "reason", f.err)
	return nil
}

// isPast reports whether an entry was left out, or done with by somebody else who is at work
// too, since that was looked up last.
func (t *turn) isPast(ctx context.Context, k *key, id ID) (bool, error) {
	var err error
	if t.skips, err = t.ledger.Skips(ctx, t.source.Name); err != nil {
		return false, err
	}
	if _, skipped := t.skips[skipField(k.name, id)]; skipped {
		return true, nil
	}
	p, err := t.ledger.position(ctx, t.source.Name, k.name)
	if err != nil || p.ID.Compare(id) < 0 {
		return false, err
	}
	k.pos, k.stored, k.since = p, p.text(), 0
	return true, nil
}

// clipTo shortens a text to so many bytes of UTF-8.
func clipTo(s string, most int) string {
	s = strings.ToValidUTF8(s, string(utf8.RuneError))
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
