package history

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil || w.Close() != nil {
		t.Fatal("gzip failed")
	}
	return b.String()
}

func zstdPacked(t *testing.T, text string) string {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(w.EncodeAll([]byte(text), nil))
}

// withoutLines clears what differs between the two forms.
func withoutLines(facts []Fact) []Fact {
	facts = slices.Clone(facts)
	for i := range facts {
		facts[i].Line = 0
	}
	return facts
}

func TestBothFormsTellTheSame(t *testing.T) {
	want := withoutLines(mustRead(t, smallNDJSON))
	if len(want) != 13 {
		t.Fatalf("%d facts; want 13", len(want))
	}
	for name, text := range map[string]string{
		"CSV":             smallCSV,
		"CSVGzip":         gzipped(t, smallCSV),
		"CSVZstd":         zstdPacked(t, smallCSV),
		"NDJSONGzip":      gzipped(t, smallNDJSON),
		"NDJSONZstd":      zstdPacked(t, smallNDJSON),
		"CarriageReturns": strings.ReplaceAll(smallCSV, "\n", "\r\n"),
		"NDJSONWithCR":    strings.ReplaceAll(smallNDJSON, "\n", "\r\n"),
		"NoLastLineEnd":   strings.TrimSuffix(smallCSV, "\n"),
		"ByteOrderMark":   "\ufeff" + smallCSV,
		"NDJSONWithMark":  "\ufeff" + smallNDJSON,
	} {
		t.Run(name, func(t *testing.T) {
			got := withoutLines(mustRead(t, text))
			for i := range min(len(got), len(want)) {
				if got[i] != want[i] {
					t.Errorf("fact %d is %+v\nwant %+v", i, got[i], want[i])
				}
			}
			if len(got) != len(want) {
				t.Errorf("%d facts; want %d", len(got), len(want))
			}
		})
	}
}

func TestNothingToRead(t *testing.T) {
	for name, text := range map[string]string{
		"Empty": "", "WhiteSpace": "\n \r\n", "Gzip": gzipped(t, ""), "Zstd": zstdPacked(t, ""), "Mark": "\ufeff",
	} {
		if _, _, err := read(t, text); !errors.Is(err, ErrEmpty) {
			t.Errorf("%s: %v; want ErrEmpty", name, err)
		}
	}
	header, _, _ := strings.Cut(smallCSV, "\n")
	if facts := mustRead(t, header); len(facts) != 0 {
		t.Errorf("a header alone tells %v", facts)
	}
}

// A file that is cut off is an error, and never half a line taken for a whole
// one.
func TestCutOff(t *testing.T) {
	// Long enough, and different enough, for several blocks.
	var long strings.Builder
	for _, c := range "abcdefghijklmnopqrstuvwxyz" {
		for _, d := range "abcdefghijklmnopqrstuvwxyz" {
			for line := range strings.Lines(smallNDJSON) {
				long.WriteString(strings.Replace(line, `"cart":"`, `"cart":"`+string(c)+string(d), 1))
			}
		}
	}
	whole := mustRead(t, long.String())
	for name, packed := range map[string]string{"Gzip": gzipped(t, long.String()), "Zstd": zstdPacked(t, long.String())} {
		for _, n := range []int{5, 12, len(packed) / 2, len(packed) - 1} {
			facts, bad, err := read(t, packed[:n])
			if !errors.Is(err, io.ErrUnexpectedEOF) || bad != nil {
				t.Errorf("%s cut off after %d of %d bytes: %v, bad lines %v; want an unexpected end", name, n, len(packed), err, bad)
			}
			if len(facts) > len(whole) || !slices.Equal(facts, whole[:len(facts)]) {
				t.Errorf("%s cut off after %d of %d bytes tells other facts", name, n, len(packed))
			}
		}
	}
}

func TestLineTooLong(t *testing.T) {
	first, rest, _ := strings.Cut(smallNDJSON, "\n")
	exact := `{"x":"` + strings.Repeat("x", maxLineBytes-len(first)-7) + `",` + first[1:]
	if len(exact) != maxLineBytes {
		t.Fatalf("the line has %d bytes; want %d", len(exact), maxLineBytes)
	}
	if facts := mustRead(t, exact+"\r\n"+rest); len(facts) != 13 {
		t.Errorf("%d facts from a file with the longest line that may be; want 13", len(facts))
	}
	for name, text := range map[string]string{
		"NDJSON":    first + "\n" + strings.Repeat("x", maxLineBytes+1) + "\n" + rest,
		"MuchMore":  first + "\n" + strings.Repeat("x", 5*maxLineBytes) + "\n" + rest,
		"JustABit":  first + "\n{" + exact + "\n" + rest,
		"NoLineEnd": first + "\n" + rest + strings.Repeat("x", 2*maxLineBytes),
	} {
		facts, bad, err := read(t, text)
		if err != nil || len(bad) != 1 || !errors.Is(bad[0], errLineTooLong) || len(facts) != 13 {
			t.Errorf("%s: %d facts, bad lines %v, %v; want all facts but the long line", name, len(facts), bad, err)
		}
	}
}
