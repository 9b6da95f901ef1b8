package bench

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		of   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{5, 1}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 100, 2}, 3}} {
		before := slices.Clone(c.of)
		if got := median(c.of); got != c.want || !slices.Equal(c.of, before) {
			t.Errorf("median of %v is %v, want %v", before, got, c.want)
		}
	}
}

func TestMet(t *testing.T) {
	for _, c := range []struct {
		ratio, goal float64
		less, want  bool
	}{{0.6, 0.6, false, true}, {0.59, 0.6, false, false}, {2.5, 2.5, true, true}, {2.6, 2.5, true, false}} {
		if got := met(c.ratio, c.goal, c.less); got != c.want {
			t.Errorf("%+v", c)
		}
	}
}

func TestSignificant(t *testing.T) {
	for x, want := range map[float64]float64{123456: 123500, 0.123456: 0.1235, 0: 0, 17: 17} {
		if got := *significant(x); got != want {
			t.Errorf("%v becomes %v, want %v", x, got, want)
		}
	}
}

func TestHuman(t *testing.T) {
	for x, want := range map[float64]string{1234567.8: "1,234,568", 999: "999", 12.34: "12.3", 1.234: "1.23", 0.1234: "0.12", 0: "0", 1: "1", 10: "10", -1234: "-1,234"} {
		if got := human(x); got != want {
			t.Errorf("%v is written %s, want %s", x, got, want)
		}
	}
}

// stub is a measure that gives these values, one after the other, and then fails where
// there is an error.
func stub(name string, failure error, values ...float64) *measure {
	return &measure{name: name, run: func(context.Context, *lab) (sample, error) {
		if len(values) == 0 {
			return sample{}, failure
		}
		s := sample{value: values[0], units: 2, spent: spent{client: 2000, redis: 4000, allocs: 6}}
		values = values[1:]
		return s, nil
	}}
}

// fullLab is one of which samples have their full length.
func fullLab() *lab { return &lab{Config: Config{Events: fullSize, Streams: 1}} }

// summed returns what is reported of rows after so many rounds of samples.
func summed(rounds int, rows ...*row) []Row {
	r := newRun(fullLab(), rows)
	for range rounds {
		for _, m := range r.order {
			t := r.taken[m]
			if t.err != nil {
				continue
			}
			s, err := m.run(context.Background(), nil)
			if t.err = err; err == nil {
				t.samples = append(t.samples, s)
			}
		}
		r.counted++
	}
	var all []Row
	for _, row := range r.rows {
		all = append(all, r.sum(row))
	}
	return all
}

// The ratio is the median of those of the rounds, and not that of the medians.
func TestRatioIsOfRounds(t *testing.T) {
	limit := stub("the limit", nil, 100, 200, 400)
	got := summed(3,
		&row{name: "a", of: reading{of: stub("a", nil, 50, 150, 100)}, limit: reading{of: limit}, goal: 0.5},
		&row{name: "b", of: reading{of: stub("b", nil, 300, 400, 1200)}, limit: reading{of: limit}, goal: 2.5, less: true},
		&row{name: "c", of: reading{of: limit}},
	)
	a, b, c := got[0], got[1], got[2]
	if *a.Value != 100 || *a.LimitValue != 200 || *a.Ratio != 0.5 || *a.Spread != (Spread{0.25, 0.75}) || !*a.Met || *a.Limit != "the limit" {
		t.Errorf("a: %s", text(a))
	}
	if *b.Ratio != 3 || *b.Spread != (Spread{2, 3}) || *b.Met || b.Better != "less" {
		t.Errorf("b: %s", text(b))
	}
	if *c.Value != 200 || c.Ratio != nil || c.Limit != nil || c.Met != nil || *c.Spread != (Spread{100, 400}) {
		t.Errorf("c: %s", text(c))
	}
	if *a.ClientCPU != 1 || *a.RedisCPU != 2 || *a.Allocs != 3 || a.PostgresCPU != nil {
		t.Errorf("what it took: %s", text(a))
	}
}

// With few events there is no verdict.
func TestNoVerdictOnLess(t *testing.T) {
	r := newRun(fullLab(), []*row{{name: "a", of: reading{of: stub("a", nil)}, limit: reading{of: stub("limit", nil)}, goal: 0.5}})
	for _, m := range r.order {
		r.taken[m].samples = []sample{{value: 1}}
	}
	r.counted = 1
	if got := r.sum(r.rows[0]); got.Met == nil || !*got.Met {
		t.Error(text(got))
	}
	r.lab.Events--
	if got := r.sum(r.rows[0]); got.Met != nil || got.Ratio == nil {
		t.Error(text(got))
	}
}

// A ratio has as many digits as its verdict needs, and one that was measured once has no
// range.
func TestCells(t *testing.T) {
	for _, c := range []struct {
		ratio, goal float64
		better      string
		rounds      int
		want        string
	}{
		{1.1, 1.1, "less", 3, "1.10 0.40–0.60 ≤ 1.10 met"},
		{1.101, 1.1, "less", 3, "1.101 0.40–0.60 ≤ 1.10 MISSED"},
		{0.5999, 0.6, "more", 1, "0.5999 once ≥ 0.60 MISSED"},
	} {
		reached := met(c.ratio, c.goal, c.better == "less")
		r := Row{Ratio: &c.ratio, Goal: &c.goal, Met: &reached, Better: c.better, Rounds: c.rounds, Spread: &Spread{0.4, 0.6}}
		if got := strings.Join(r.cells()[4:8], " "); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

func TestPlural(t *testing.T) {
	for n, want := range map[int]string{1: "1 process", 2: "2 processes"} {
		if got := plural(n, "process"); got != want {
			t.Errorf("got %s", got)
		}
	}
}

// A row that fails says why, and so does one whose limit does; others are reported.
func TestFailedRows(t *testing.T) {
	limit := stub("the limit", errors.New("no limit"), 1)
	got := Report{Rows: summed(2,
		&row{name: "a", of: reading{of: stub("a", errors.New("broken"))}},
		&row{name: "b", of: reading{of: stub("b", nil, 1, 2)}, limit: reading{of: limit}},
		&row{name: "c", of: reading{of: stub("c", nil, 1, 2)}},
	)}
	if a := got.Rows[0]; !strings.Contains(a.Error, "broken") || a.Value != nil {
		t.Errorf("a: %s", text(a))
	}
	if b := got.Rows[1]; !strings.Contains(b.Error, "no limit") || *b.Value != 1.5 {
		t.Errorf("b: %s", text(b))
	}
	if c := got.Rows[2]; c.Error != "" || *c.Value != 1.5 {
		t.Errorf("c: %s", text(c))
	}
	if err := got.Failed(); err == nil || !strings.Contains(err.Error(), "2 of 3 rows could not be measured: a, b") {
		t.Errorf("the report says %v", err)
	}
}

// Values of one sample may be rows of their own, and limits.
func TestReadings(t *testing.T) {
	m := &measure{name: "latency", run: func(context.Context, *lab) (sample, error) {
		return sample{values: map[string]float64{"append p50": 2, "visible p50": 5}}, nil
	}}
	got := summed(1, &row{name: "l", of: reading{m, "visible p50"}, limit: reading{m, "append p50"}})[0]
	if *got.Value != 5 || *got.Limit != "latency, append p50" || *got.Ratio != 2.5 || got.Allocs != nil {
		t.Error(text(got))
	}
}

// Every measure is taken once a round, next to what it is held against.
func TestOrder(t *testing.T) {
	x, y, a, b, c := stub("x", nil), stub("y", nil), stub("a", nil), stub("b", nil), stub("c", nil)
	got := ordered([]*row{
		{of: reading{of: a}, limit: reading{of: x}},
		{of: reading{of: c}, limit: reading{of: x}},
		{of: reading{of: a}, limit: reading{of: y}},
		{of: reading{of: b}, limit: reading{of: y}},
		{of: reading{of: y}},
		{of: reading{b, "again"}, limit: reading{of: b}},
	})
	if !slices.Equal(got, []*measure{c, x, a, y, b}) {
		for _, m := range got {
			t.Log(m.name)
		}
		t.Error("that is not the order")
	}
}

// A limit of many is taken again, so that each row has it right before or after it. What
// is taken once is not.
func TestLimitsBesideRows(t *testing.T) {
	r := newRun(new(lab), catalogue())
	for _, row := range r.rows {
		limit := row.limit.of
		if limit == nil || limit == row.of.of || limit.once {
			continue
		}
		if apart := slices.Index(r.order, row.of.of) - slices.Index(r.order, limit); apart != 1 && apart != -1 {
			t.Errorf("%s is taken %d after its limit, %s", row.name, apart, limit.name)
		}
	}
	seen := make(map[*measure]bool)
	for _, m := range r.order {
		if seen[m] {
			t.Errorf("%s is taken twice", m.name)
		}
		seen[m] = true
	}
}

func TestJSON(t *testing.T) {
	limit, value, ratio, goal, reached := "pipelined XADD", 100.0, 0.5, 0.6, false
	report := Report{
		Machine: Machine{Cores: 2, CPU: "a CPU", OS: "linux/amd64", Go: "go1.26", Redis: "7.0", Private: []string{"redis"}, Settings: map[string]string{"redis appendonly": "no"}, Events: 10, Streams: 1, Scale: 0.01, Rounds: 3},
		Rows: []Row{
			{Name: "append/256x1", Value: &value, Unit: "events/s", Limit: &limit, LimitValue: &value, Ratio: &ratio, Goal: &goal, Met: &reached, Spread: &Spread{0.4, 0.6}, Better: "more", About: "an append", Rounds: 3, ClientCPU: &ratio, RedisCPU: &ratio, Allocs: &value},
			{Name: "memory", Unit: "B", Better: "less", Error: "broken"},
		},
	}
	got, err := json.Marshal(report)
	const want = `{"machine":{"cores":2,"cpu":"a CPU","os":"linux/amd64","go":"go1.26","redis":"7.0","postgres":"","private":["redis"],"settings":{"redis appendonly":"no"},"events":10,"streams":1,"scale":0.01,"rounds":3,"ended":false},` +
		`"rows":[{"name":"append/256x1","value":100,"unit":"events/s","limit":"pipelined XADD","limit_value":100,"ratio":0.5,"goal":0.6,"met":false,"spread":[0.4,0.6],"better":"more","about":"an append","rounds":3,"client_cpu_us":0.5,"redis_cpu_us":0.5,"postgres_cpu_us":null,"allocs":100},` +
		`{"name":"memory","value":null,"unit":"B","limit":null,"limit_value":null,"ratio":null,"goal":null,"met":null,"spread":null,"better":"less","about":"","rounds":0,"client_cpu_us":null,"redis_cpu_us":null,"postgres_cpu_us":null,"allocs":null,"error":"broken"}]}`
	if err != nil || string(got) != want {
		t.Errorf("%v:\n%s, want\n%s", err, got, want)
	}
	var shown, document strings.Builder
	report.Show(&shown)
	report.Markdown(&document)
	for _, text := range []string{shown.String(), document.String()} {
		for _, want := range []string{"MISSED", "FAILED", "0.40–0.60", "≥ 0.60", "a CPU", "broken", "1 % of what"} {
			if !strings.Contains(text, want) {
				t.Errorf("it does not say %s:\n%s", want, text)
			}
		}
		if strings.Contains(text, "Postgres µs") {
			t.Errorf("it has an empty column:\n%s", text)
		}
	}
}

// The catalogue can be typed, and makes sense.
func TestCatalogue(t *testing.T) {
	seen := make(map[string]bool)
	for _, r := range catalogue() {
		if strings.Trim(r.name, "abcdefghijklmnopqrstuvwxyz0123456789-/") != "" || seen[r.name] {
			t.Errorf("%q is no name, or another row's", r.name)
		}
		seen[r.name] = true
		if r.unit == "" || !strings.HasSuffix(r.about, ".") || r.of.of == nil || r.of.of.run == nil {
			t.Errorf("%s lacks something", r.name)
		}
		if r.goal != 0 && r.limit.of == nil || math.IsNaN(r.goal) {
			t.Errorf("%s has a goal and no limit", r.name)
		}
	}
}

func text(r Row) string {
	b, _ := json.MarshalIndent(r, "", "  ")
	return string(b)
}

// There is a round to warm up, which does not count, and then each turns the order around;
// what is measured once is, at the end.
func TestRounds(t *testing.T) {
	var got []string
	note := func(name string, once bool) *measure {
		return &measure{name: name, once: once, run: func(context.Context, *lab) (sample, error) {
			got = append(got, name)
			return sample{value: float64(len(got))}, nil
		}}
	}
	var told []Progress
	l := &lab{Config: Config{Progress: func(p Progress) { told = append(told, p) }}}
	r := newRun(l, []*row{
		{name: "once", of: reading{of: note("once", true)}},
		{name: "a", of: reading{of: note("a", false)}, limit: reading{of: note("limit", false)}},
	})
	if err := r.rounds(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := "limit a" + strings.Repeat(" limit a a limit", mostRounds/2) + " limit a once"
	if strings.Join(got, " ") != want || r.counted != mostRounds {
		t.Errorf("%d rounds: %s", r.counted, strings.Join(got, " "))
	}
	if a := r.sum(r.rows[1]); a.Rounds != mostRounds || a.Ratio == nil {
		t.Error(text(a))
	}
	if once := r.sum(r.rows[0]); once.Rounds != 1 {
		t.Error(text(once))
	}
	if last := told[len(told)-1]; told[0].Round != 0 || last.Measure != "once" || last.Round != mostRounds {
		t.Errorf("it tells %+v", told)
	}
}

// No round begins that would end after the time for all of them, except those that there
// are at the least.
func TestRoundsEnd(t *testing.T) {
	for _, c := range []struct {
		first, later time.Duration
		want         int
	}{
		{time.Second, time.Second, mostRounds},
		{time.Minute, time.Minute, 4},
		{time.Second, 2 * time.Minute, 2}, // it became slower
		{time.Hour, time.Hour, fewestRounds},
	} {
		synctest.Test(t, func(t *testing.T) {
			took := c.first
			m := &measure{name: "m", run: func(ctx context.Context, _ *lab) (sample, error) {
				<-time.After(took)
				took = c.later
				return sample{}, nil
			}}
			var last Progress
			r := newRun(&lab{Config: Config{Progress: func(p Progress) { last = p }}}, []*row{{name: "m", of: reading{of: m}}})
			if err := r.rounds(t.Context()); err != nil || r.counted != c.want || last.Rounds != c.want {
				t.Errorf("%v: %d rounds, %+v, %v", c, r.counted, last, err)
			}
		})
	}
}

// What is interrupted reports the rounds that were complete.
func TestInterrupted(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	calls := 0
	m := &measure{name: "m", run: func(ctx context.Context, _ *lab) (sample, error) {
		if calls++; calls == 4 {
			interrupt()
		}
		return sample{value: float64(calls)}, ctx.Err()
	}}
	r := newRun(new(lab), []*row{{name: "m", of: reading{of: m}}})
	if err := r.rounds(ctx); !errors.Is(err, context.Canceled) || !r.ended {
		t.Errorf("it ended by %v", err)
	}
	if got := r.sum(r.rows[0]); *got.Spread != (Spread{2, 3}) || got.Error != "" {
		t.Error(text(got))
	}
}
