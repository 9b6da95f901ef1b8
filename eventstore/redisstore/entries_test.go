package redisstore

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/projectord/projectord/eventstore"
)

// bulk and array write replies as Redis does.
func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

func array(items ...string) string {
	return fmt.Sprintf("*%d\r\n%s", len(items), strings.Join(items, ""))
}

func entry(id string, fields ...string) string {
	for i, f := range fields {
		fields[i] = bulk(f)
	}
	return array(bulk(id), array(fields...))
}

// listen returns an entryReader that writes down what it is told.
func listen() (*entryReader, *[]string) {
	var told []string
	say := func(format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) }
	r := &entryReader{
		onEntry: func(major, minor uint64, value []byte, err error) {
			switch {
			case err == nil:
				say("%d-%d %.40q", major, minor, value)
			case errors.Is(err, eventstore.ErrCorrupt):
				say("%d-%d is corrupt", major, minor)
			default:
				say("%d-%d: %v", major, minor, err)
			}
		},
		onRefused: func(message string) { say("refused: %s", message) },
		onEnd:     func(entries int) { say("end of %d", entries) },
	}
	return r, &told
}

// arrives has the reader read and parse those bytes, as many at a time as it takes.
func arrives(r *entryReader, p []byte) error {
	for from := bytes.NewReader(p); from.Len() > 0; r.parse() {
		if err := r.fill(from); err != nil {
			return err
		}
	}
	return nil
}

// ended returns what is wrong where no more arrives.
func ended(r *entryReader) error {
	if r.err == nil && !r.whole() {
		return r.fill(new(bytes.Reader))
	}
	return r.err
}

// A pipeline of several replies, each of which has something to trip over; the
// last one is too large.
var (
	shortReplies = array(entry("1-0", "e", "one"), entry("2-0", "e", "t\r\nw$o\r\n*2\r\n")) +
		array() +
		"-WRONGTYPE Operation against a key\r\n" +
		"*-1\r\n" +
		array(entry("3-5", "e", "")) +
		array(entry("4-0", "x", "y"), entry("5-0", "e", "a", "f", "b"), entry("18446744073709551615-18446744073709551615", "e", "last"))
	sampleReplies = shortReplies + array(entry("7-0", "e", strings.Repeat("x", eventstore.MaxEventBytes+1)), entry("8-0", "e", "behind"))

	shortTold = []string{
		`1-0 "one"`, `2-0 "t\r\nw$o\r\n*2\r\n"`, "end of 2",
		"end of 0",
		"refused: WRONGTYPE Operation against a key", "end of 0",
		"end of 0",
		`3-5 ""`, "end of 1",
		"4-0 is corrupt", "5-0 is corrupt", `18446744073709551615-18446744073709551615 "last"`, "end of 3",
	}
	sampleTold = append(slices.Clone(shortTold), "7-0 is corrupt", `8-0 "behind"`, "end of 2")
)

func TestEntryReader(t *testing.T) {
	for _, piece := range []int{1, 2, 3, 7, 100, 5000, readBytes, readBytes + 1, len(sampleReplies)} {
		r, told := listen()
		for range 2 { // a reader is used again
			*told = nil
			r.reset()
			for rest := []byte(sampleReplies); len(rest) > 0; {
				p := slices.Clone(rest[:min(piece, len(rest))])
				if err := arrives(r, p); err != nil {
					t.Fatal(err)
				}
				clear(p) // the reader has no claim on it
				rest = rest[min(piece, len(rest)):]
			}
			if err := ended(r); err != nil || !slices.Equal(*told, sampleTold) {
				t.Fatalf("in pieces of %d: told\n%s\nwant\n%s\n%v", piece, strings.Join(*told, "\n"), strings.Join(sampleTold, "\n"), err)
			}
		}
	}
}

// Split anywhere into two, the replies are the same; cut anywhere, they are
// told as far as they came, and that they are not whole.
func TestScenario19EntryReaderSplitAndCutAnywhere(t *testing.T) {
	replies, want := shortReplies, shortTold
	ends := 0 // of the replies that came whole
	for n := range len(replies) + 1 {
		r, told := listen()
		arrives(r, []byte(replies[:n]))
		seen := slices.Clone(*told)
		if !slices.Equal(seen, want[:len(seen)]) {
			t.Fatalf("cut at byte %d: told %q", n, seen)
		}
		whole := len(seen) > 0 && strings.HasPrefix(seen[len(seen)-1], "end of")
		atEnd := n == 0 || whole && len(seen) > ends
		if whole {
			ends = len(seen)
		}
		if err := ended(r); (err == nil) != atEnd {
			t.Fatalf("cut at byte %d, after %q: %v", n, seen, err)
		}
		arrives(r, []byte(replies[n:]))
		if err := ended(r); err != nil || !slices.Equal(*told, want) {
			t.Fatalf("split at byte %d: told %q, %v", n, *told, err)
		}
	}
	if ends != len(want) {
		t.Errorf("%d of %d were told in the end", ends, len(want))
	}
}

// tooLarge returns a value that is too large and looks, every size bytes, like an event.
// Behind what stands before it in a reply, those begin at multiples of size.
func tooLarge(before, size int) string {
	forged := entry("2-0", "e", "")
	forged = entry("2-0", "e", strings.Repeat("x", size-len(forged)-1)) // its length has two digits
	pad := strings.Repeat("x", size-before%size)
	return pad + strings.Repeat(forged, eventstore.MaxEventBytes/size+1)
}

// forgedReplies are those of two streams of which the first has a value that is too large,
// and looks like entries, between others. Those begin at multiples of size.
func forgedReplies(size int) string {
	good := entry("1-0", "e", "before")
	const head = "*3\r\n*2\r\n$3\r\n2-0\r\n*2\r\n$1\r\ne\r\n$1234567\r\n"
	value := tooLarge(len(head)+len(good), size)
	return array(good, entry("2-0", "e", value), entry("3-0", "e", "behind")) +
		array(entry("1-0", "e", value)) +
		array(entry("1-0", "e", "another stream's"))
}

var forgedTold = []string{
	`1-0 "before"`, "2-0 is corrupt", `3-0 "behind"`, "end of 3",
	"1-0 is corrupt", "end of 1",
	`1-0 "another stream's"`, "end of 1",
}

// Wherever what arrives is split, a value that is too large is passed over to its end, even
// where the rest of it looks like an event.
func TestScenario19EntryReaderPassesOverForgedEntries(t *testing.T) {
	const size = 64
	replies := []byte(forgedReplies(size))
	for first := range 3 * size {
		// Behind the first piece come those that the reader takes at a time.
		r, told := listen()
		arrives(r, replies[:first])
		arrives(r, replies[first:])
		if err := ended(r); err != nil || !slices.Equal(*told, forgedTold) {
			t.Fatalf("split at byte %d: told %q, %v", first, *told, err)
		}
	}
	for piece := size - 2; piece <= size+2; piece++ {
		r, told := listen()
		for p := range slices.Chunk(replies, piece) {
			arrives(r, p)
		}
		if err := ended(r); err != nil || !slices.Equal(*told, forgedTold) {
			t.Fatalf("in pieces of %d: told %q, %v", piece, *told, err)
		}
	}
	// A value where an entry should be is no different.
	r, told := listen()
	for p := range slices.Chunk([]byte(array(bulk(tooLarge(len("*1\r\n$1234567\r\n"), size)), bulk("x"))), size) {
		arrives(r, p)
	}
	if err := ended(r); err == nil || len(*told) > 0 {
		t.Errorf("told %q, %v", *told, err)
	}
}

func TestScenario23EntryReaderRefuses(t *testing.T) {
	for name, reply := range map[string]string{
		"a status":                 "+OK\r\n",
		"an integer":               ":1\r\n",
		"a bulk string":            bulk("x"),
		"an empty line":            "\r\n",
		"a bare line feed":         "\n",
		"a bare kind":              "*\n",
		"no length":                "*x\r\n",
		"a negative length":        "*-2\r\n",
		"a length that overflows":  "*99999999999999999999\r\n",
		"the largest length":       "*9223372036854775807\r\n",
		"the largest bulk":         array(array("$9223372036854775807\r\n")),
		"an entry that is none":    array(bulk("x")),
		"an entry of three":        array(array(bulk("1-0"), array(), array())),
		"an id without a dash":     array(array(bulk("1"), array(bulk("e"), bulk("x")))),
		"an id without a sequence": array(array(bulk("1-"), array(bulk("e"), bulk("x")))),
		"an id beyond 64 bits":     array(array(bulk("18446744073709551616-0"), array(bulk("e"), bulk("x")))),
		"an id of nothing":         array(array("$-1\r\n", array(bulk("e"), bulk("x")))),
		"no fields":                array(array(bulk("1-0"), array())),
		"fields of nothing":        array(array(bulk("1-0"), "*-1\r\n")),
		"three fields":             array(array(bulk("1-0"), array(bulk("e"), bulk("x"), bulk("f")))),
		"a name that is none":      array(array(bulk("1-0"), array(array(), bulk("x")))),
		"a value that is none":     array(array(bulk("1-0"), array(bulk("e"), array(bulk("x"))))),
		"an endless line":          strings.Repeat("x", 1<<20),
	} {
		r, _ := listen()
		for _, b := range []byte(reply) {
			arrives(r, []byte{b})
		}
		if err := ended(r); err == nil {
			t.Errorf("%s: no error", name)
		}
		// Whatever follows is dropped, not kept.
		for range 100 {
			arrives(r, make([]byte, 1<<20))
		}
		if cap(r.buf) > 1<<20+readBytes {
			t.Errorf("%s: keeps %d bytes after the error", name, len(r.buf))
		}
	}
}

func TestParseEntryID(t *testing.T) {
	for _, c := range []struct {
		text         string
		major, minor uint64
		ok           bool
	}{
		{"1-0", 1, 0, true},
		{"0-1", 0, 1, true},
		{"18446744073709551615-18446744073709551615", 1<<64 - 1, 1<<64 - 1, true},
		{"18446744073709551616-0", 0, 0, false},
		{"", 0, 0, false}, {"-", 0, 0, false}, {"1", 0, 0, false}, {"1-", 0, 0, false}, {"-1", 0, 0, false},
		{"1-0-0", 0, 0, false}, {"+1-0", 0, 0, false}, {" 1-0", 0, 0, false}, {"1-0 ", 0, 0, false}, {"a-0", 0, 0, false},
		{"000000000000000000001-0", 0, 0, false},
	} {
		major, minor, ok := parseEntryID([]byte(c.text))
		if ok != c.ok || ok && (major != c.major || minor != c.minor) {
			t.Errorf("%q: got %d, %d, %t", c.text, major, minor, ok)
		}
	}
}

func FuzzEntryReader(f *testing.F) {
	f.Add([]byte(shortReplies), uint8(3))
	f.Add([]byte("*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\ne\r\n$9223372036854775807\r\n"), uint8(1))
	f.Add([]byte("*2147483647\r\n"), uint8(9))
	// A multiple of what the reader takes at a time, and one that is not.
	f.Add([]byte(forgedReplies(64)), uint8(63))
	f.Add([]byte(forgedReplies(50)), uint8(49))
	f.Add([]byte("\n"), uint8(1))
	f.Add([]byte("*\n"), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, size uint8) {
		whole, told := listen()
		arrives(whole, b)
		err := ended(whole)
		if len(*told) > 2*len(b) {
			t.Errorf("%d calls for %d bytes", len(*told), len(b))
		}

		// However the bytes arrive, they mean the same.
		pieces, again := listen()
		for p := range slices.Chunk(b, int(size)+1) {
			arrives(pieces, bytes.Clone(p))
			if cap(pieces.buf) > max(4*len(b), readBytes) {
				t.Errorf("keeps %d bytes of %d", cap(pieces.buf), len(b))
			}
		}
		if err2 := ended(pieces); (err == nil) != (err2 == nil) || !slices.Equal(*told, *again) {
			t.Errorf("in pieces %q, %v; whole %q, %v", *again, err2, *told, err)
		}
	})
}

func BenchmarkEntryReader(b *testing.B) {
	r, _ := listen()
	events := 0
	r.onEntry = func(uint64, uint64, []byte, error) { events++ }
	r.onEnd = func(int) {}
	entries := make([]string, 1000)
	for i := range entries {
		entries[i] = entry(fmt.Sprintf("%d-0", i+1), "e", strings.Repeat("x", 200))
	}
	replies := []byte(array(entries...))
	b.ReportAllocs()
	for b.Loop() {
		if err := arrives(r, replies); err != nil || !r.whole() {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
}
