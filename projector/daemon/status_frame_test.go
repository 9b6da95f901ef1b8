package daemon

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// busyView is a namespace in which something of every kind goes on.
func busyView() statusView {
	n := func(n int) *int { return &n }
	return statusView{
		Namespace: "shop", Workers: 2,
		Generations: []generationView{
			{Projection: "carts", Generation: 1, Version: 1, Active: true, State: "built", Behind: n(1200), Estimated: true, OldestSeconds: 3},
			{Projection: "carts", Generation: 2, Version: 2, State: "building", Building: &buildingView{
				Share: 0.42, Workers: map[string]uint64{"blue": 40_000, "red": 2_000},
				text: "42%, 42,000 of 100,000 events, 4,000 events/s, about 15s left",
			}},
			{Projection: "items", Generation: 1, Version: 1, Active: true, State: "built", Behind: n(0), Parked: 3},
			{Projection: "mails", Generation: 1, Version: 1, State: "failed", Reason: "cart-7@3 cannot be applied: thirteen of it"},
		},
		Unserved: []unservedView{{"mails@1", 12, false}},
	}
}

// What is a lower bound is not told as what is there.
func TestUnservedNote(t *testing.T) {
	t.Parallel()
	for want, u := range map[string]unservedView{
		"nobody serves mails@1, which has 1 outstanding pointer: ":                {"mails@1", 1, false},
		"nobody serves mails@1, which has 160,000 or more outstanding pointers: ": {"mails@1", 160_000, true},
	} {
		if notes := (statusView{Unserved: []unservedView{u}}).notes(); len(notes) != 1 || !strings.HasPrefix(notes[0].text, want) {
			t.Errorf("%+v is told as %v", u, notes)
		}
	}
}

func TestStatusFrame(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 20, 31, 12, 0, time.UTC)
	const refused = "dial tcp 127.0.0.1:6379: connect: connection refused (is the server running, and the Redis URL right?)"
	fresh := statusFrame{view: busyView(), at: now}
	old, refusing, first, back := fresh, fresh, statusFrame{view: statusView{Namespace: "shop"}, silent: 3 * time.Second}, fresh
	old.at, old.silent = now.Add(-7*time.Second), 6*time.Second
	refusing.at, refusing.trouble = old.at, refused
	back.back, back.workers = now.Add(-time.Second), 5
	short := fresh
	short.silent = silentAfter - time.Millisecond
	for _, c := range []struct {
		name          string
		frame         statusFrame
		width, height int
		want          string
	}{
		{"Wide", fresh, 120, 40, `
20:31:12  namespace shop, 2 workers
PROJECTION  GENERATION  VERSION  STATE     BEHIND       OLDEST  PARKED
carts       1           1        active    about 1,200  3s      0
carts       2           2        building  -            -       0
items       1           1        active    0            -       3
mails       1           1        failed    -            -       0
carts@2 [########------------] 42%, 42,000 of 100,000 events, 4,000 events/s, about 15s left
carts@2 is built by blue (40,000 events), red (2,000 events)
mails@1 failed: cart-7@3 cannot be applied: thirteen of it
nobody serves mails@1, which has 12 outstanding pointers: start its workers, or retire it
`},
		{"JustFits", fresh, 120, 11, `
20:31:12  namespace shop, 2 workers
PROJECTION  GENERATION  VERSION  STATE     BEHIND       OLDEST  PARKED
carts       1           1        active    about 1,200  3s      0
carts       2           2        building  -            -       0
items       1           1        active    0            -       3
mails       1           1        failed    -            -       0
carts@2 [########------------] 42%, 42,000 of 100,000 events, 4,000 events/s, about 15s left
carts@2 is built by blue (40,000 events), red (2,000 events)
mails@1 failed: cart-7@3 cannot be applied: thirteen of it
nobody serves mails@1, which has 12 outstanding pointers: start its workers, or retire it
`},
		{"Narrow", fresh, 60, 11, `
20:31:12  namespace shop, 2 workers
PROJECTION  GENERATION  STATE     BEHIND       PARKED
carts       1           active    about 1,200  0
carts       2           building  -            0
items       1           active    0            3
mails       1           failed    -            0
carts@2: 42%, 42,000 of 100,000 events, 4,000 events/s, abo…
mails@1 failed: cart-7@3 cannot be applied: thirteen of it
nobody serves mails@1, which has 12 outstanding pointers: s…
… 1 more line, 2 more columns
`},
		{"Low", fresh, 120, 7, `
20:31:12  namespace shop, 2 workers
PROJECTION  GENERATION  VERSION  STATE     BEHIND       OLDEST  PARKED
items       1           1        active    0            -       3
mails       1           1        failed    -            -       0
mails@1 failed: cart-7@3 cannot be applied: thirteen of it
… 5 more lines
`},
		{"Tiny", fresh, 24, 4, `
20:31:12  namespace sho…
PROJECT…  STATE     BEH…
… 8 more lines, 4 more …
`},
		{"OneLine", fresh, 24, 1, "\n20:31:12  namespace sho…\n"},
		{"NotOldYet", short, 120, 4, `
20:31:12  namespace shop, 2 workers
PROJECTION  GENERATION  VERSION  STATE     BEHIND       OLDEST  PARKED
… 8 more lines
`},
		{"Old", old, 60, 6, `
20:31:12  namespace shop, 2 workers
OLD, as of 20:31:05: nothing has answered for 6s
PROJECTION  GENERATION  STATE     BEHIND       PARKED
items       1           active    0            3
… 7 more lines, 2 more columns
`},
		{"OutOfReach", refusing, 60, 7, `
20:31:12  namespace shop, 2 workers
OLD, as of 20:31:05: dial tcp 127.0.0.1:6379: connect:
connection refused (is the server running, and the Redis URL
right?)
PROJECTION  GENERATION  STATE     BEHIND       PARKED
… 8 more lines, 2 more columns
`},
		{"NothingYet", first, 80, 24, `
20:31:12  namespace shop
nothing has answered for 3s
`},
		{"BackAgain", back, 120, 5, `
20:31:12  namespace shop, 2 workers
answers again since 20:31:11; 5 workers before, give them a moment
PROJECTION  GENERATION  VERSION  STATE     BEHIND       OLDEST  PARKED
… 8 more lines
`},
		{"Empty", statusFrame{view: statusView{Namespace: "shop"}, at: now}, 80, 24, `
20:31:12  namespace shop, 0 workers
no projection has run yet
`},
		{"LongNames", statusFrame{at: now, view: statusView{Namespace: "läden", Generations: []generationView{
			{Projection: "wie_viel_von_jeder_sorte_verkauft_wurde", Generation: 1, State: "paused", Reason: "a\nb\x1b[2J"},
		}}}, 40, 24, `
20:31:12  namespace läden, 0 workers
PROJECTION                STATE   BEHIND
wie_viel_von_jeder_sort…  paused  -
wie_viel_von_jeder_sorte_verkauft_wurde…
… 4 more columns
`},
	} {
		got := "\n" + c.frame.text(c.width, c.height, now)
		if got != c.want {
			t.Errorf("%s: the frame of %d×%d is %s\nwant %s", c.name, c.width, c.height, got, c.want)
		}
	}
	// Whatever the size is, nothing wraps and nothing scrolls.
	for width := 1; width < 130; width++ {
		for height := 1; height < 20; height++ {
			for _, f := range []statusFrame{fresh, old, refusing, first, back} {
				text := f.text(width, height, now)
				if n := strings.Count(text, "\n"); n > max(height-1, 1) {
					t.Fatalf("%d lines on a terminal of %d×%d: %s", n, width, height, text)
				}
				for line := range strings.Lines(text) {
					if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
						t.Fatalf("%d characters on a terminal of %d×%d: %s", n, width, height, line)
					}
				}
			}
		}
	}
}
