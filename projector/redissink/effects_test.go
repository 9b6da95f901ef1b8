package redissink_test

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/faultconn"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/redissink"
)

func begin(t *testing.T, client redis.UniversalClient, namespace string) *redissink.Delta {
	t.Helper()
	s, err := redissink.NewDelta(client, config(namespace))
	if err == nil {
		err = s.Begin(t.Context(), 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func commitAll(t *testing.T, s projector.Sink, changes ...projector.Change) {
	t.Helper()
	refused, err := s.Commit(t.Context(), 1, changes)
	if err := errors.Join(append(refused, err)...); err != nil {
		t.Fatal(err)
	}
}

func wantRow(t *testing.T, s *redissink.Delta, row, want string) {
	t.Helper()
	if got, err := s.Row(t.Context(), 1, row); err != nil || fmt.Sprint(got) != want {
		t.Errorf("row %s is %v, %v; want %s", row, got, err, want)
	}
}

func wantStand(t *testing.T, s projector.Sink, key string, want projector.Checkpoint) {
	t.Helper()
	there, failed, err := s.Checkpoints(t.Context(), 1, []string{key})
	if err := errors.Join(append(failed, err)...); err != nil || there[0] != want {
		t.Errorf("%s stands at %v, %v; want %s", key, there, err, want)
	}
}

func singles(t *testing.T, test func(t *testing.T, client redis.UniversalClient)) {
	for _, kind := range []string{"Embedded", "Redis"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			test(t, testenv.Kinds[kind](t))
		})
	}
}

// edge returns an integer near one where sums begin to be inexact, or too large.
func edge() int64 {
	near := []int64{0, 1e9, 1e15, 1 << 53, 1e18, math.MaxInt64 / 2, math.MaxInt64 - 854775807, math.MaxInt64 - 5, math.MaxInt64}
	n := near[rand.N(len(near))] - rand.Int64N(5)
	if rand.N(2) == 0 {
		n = -n - rand.Int64N(2)
	}
	return n
}

// Sums are right up to the last of 64 bits, and refused beyond, on servers that do
// not look themselves as well.
func TestSumsAtTheEdge(t *testing.T) {
	singles(t, func(t *testing.T, client redis.UniversalClient) {
		s := begin(t, client, testenv.Namespace(t))
		var changes []projector.Change
		sums := make([]*big.Int, 100)
		wanted := make([]bool, 0, 5_000)
		for i := range sums {
			sums[i] = new(big.Int)
		}
		for len(changes) < 5_000 {
			row, n := rand.N(len(sums)), edge()
			sum := new(big.Int).Add(sums[row], big.NewInt(n))
			if sum.IsInt64() {
				sums[row] = sum
			}
			wanted = append(wanted, sum.IsInt64())
			changes = append(changes, effect(fmt.Sprint(len(changes)), func(f *projector.Effects) { f.Row(fmt.Sprint(row)).Add("n", n) }))
		}
		refused, err := s.Commit(t.Context(), 1, changes)
		if err != nil {
			t.Fatal(err)
		}
		over := 0
		for i, fits := range wanted {
			if fits != (refused[i] == nil) || !fits && !errors.Is(refused[i], projector.ErrEffect) {
				t.Fatalf("addition %d: %v; want that it fits: %v", i, refused[i], fits)
			}
			if !fits {
				over++
			}
		}
		if over < 100 || over > 4_900 {
			t.Errorf("%d of %d additions were beyond 64 bits: that shows little", over, len(wanted))
		}
		for row, sum := range sums {
			if got, err := s.Row(t.Context(), 1, fmt.Sprint(row)); err != nil || got["n"] != sum.String() {
				t.Fatalf("row %d is %v, %v; want %s", row, got, err, sum)
			}
		}
	})
}

// What Redis would not add to is refused before anything is written.
func TestCountsThatAreNoIntegers(t *testing.T) {
	singles(t, func(t *testing.T, client redis.UniversalClient) {
		ns := testenv.Namespace(t)
		s := begin(t, client, ns)
		bad := []string{"", " ", "x", "1.5", "1e3", "+1", "-0", "01", "-01", " 1", "1 ", "0x10", "--1", "-", "9223372036854775808", "-9223372036854775809", "99999999999999999999999", strings.Repeat("1", 5000)}
		for i, text := range bad {
			if err := client.HSet(t.Context(), ns+":product:totals:bad", "n", text).Err(); err != nil {
				t.Fatal(err)
			}
			c := effect(fmt.Sprint(i), func(f *projector.Effects) {
				f.Row("other").Add("n", 1)
				f.Row("bad").Add("n", 0)
				f.Row("bad").SetString("name", "new")
			})
			refused, err := s.Commit(t.Context(), 1, []projector.Change{c})
			if err != nil || len(refused) != 1 || !errors.Is(refused[0], projector.ErrEffect) || !strings.Contains(refused[0].Error(), "column n") {
				t.Errorf("%.20q: Commit = %v, %v; want ErrEffect that names the column", text, refused, err)
			}
			wantRow(t, s, "bad", fmt.Sprint(map[string]string{"n": text}))
			wantRow(t, s, "other", "map[]")
			wantStand(t, s, c.Key, projector.Checkpoint{})
		}
		for i, text := range []string{"0", "-1", "9223372036854775807", "-9223372036854775808"} {
			client.HSet(t.Context(), ns+":product:totals:good", "n", text)
			commitAll(t, s, effect(fmt.Sprint("good", i), func(f *projector.Effects) { f.Row("good").Add("n", 0) }))
			wantRow(t, s, "good", "map[n:"+text+"]")
		}
	})
}

// A document of another projection in the place of a row is not mixed with it.
func TestDocumentIsNoRow(t *testing.T) {
	singles(t, func(t *testing.T, client redis.UniversalClient) {
		ns := testenv.Namespace(t)
		documents, err := redissink.New(client, ns, "product:totals")
		if err != nil {
			t.Fatal(err)
		}
		commit(t, documents, 1, change("tea", "1"))
		s := begin(t, client, ns)
		for i, fill := range []func(*projector.Row){
			func(r *projector.Row) { r.Add("n", 1) },
			func(r *projector.Row) { r.SetInt("level", 1) },
		} {
			c := effect(fmt.Sprint(i), func(f *projector.Effects) { fill(f.Row("tea")) })
			refused, err := s.Commit(t.Context(), 1, []projector.Change{c})
			if err != nil || len(refused) != 1 || !errors.Is(refused[0], projector.ErrEffect) {
				t.Errorf("Commit = %v, %v; want ErrEffect", refused, err)
			}
		}
		if d, _, err := documents.Document(t.Context(), 1, "tea"); err != nil || fmt.Sprint(d) != "map[n:1]" {
			t.Errorf("the document is %v, %v", d, err)
		}
	})
}

// A stream is never split, however much it does, and a row may have more columns than
// a command takes.
func TestManyRowsAndColumns(t *testing.T) {
	singles(t, func(t *testing.T, client redis.UniversalClient) {
		s := begin(t, client, testenv.Namespace(t))
		const rows, columns = 10_000, 5_000
		long := strings.Repeat("x", 100)
		many := effect("many", func(f *projector.Effects) {
			for i := range rows {
				r := f.Row(strconv.Itoa(i))
				r.Add("n", int64(i))
				r.SetString("note", long)
			}
		})
		wide := effect("wide", func(f *projector.Effects) {
			for i := range columns {
				f.Row("wide").Add("n"+strconv.Itoa(i), int64(i))
				f.Row("wide").SetInt("v"+strconv.Itoa(i), int64(i))
			}
		})
		over := effect("over", func(f *projector.Effects) {
			for i := range columns {
				f.Row("wide").Add("n"+strconv.Itoa(i), math.MaxInt64-int64(columns)+2)
			}
		})
		refused, err := s.Commit(t.Context(), 1, []projector.Change{many, wide, over})
		if err != nil || refused[0] != nil || refused[1] != nil || !errors.Is(refused[2], projector.ErrEffect) {
			t.Fatalf("Commit = %v, %v; want the last refused", refused, err)
		}
		commitAll(t, s, many, wide)
		for _, i := range []int{0, 1, 255, 256, rows - 1} {
			wantRow(t, s, strconv.Itoa(i), fmt.Sprint(map[string]string{"n": strconv.Itoa(i), "note": long}))
		}
		row, err := s.Row(t.Context(), 1, "wide")
		if err != nil || len(row) != 2*columns {
			t.Fatalf("the wide row has %d columns, %v", len(row), err)
		}
		for i := range columns {
			if want := strconv.Itoa(i); row["n"+want] != want || row["v"+want] != want {
				t.Fatalf("column %d is %s, %s", i, row["n"+want], row["v"+want])
			}
		}
	})
}

// What the server or the user may not do is trouble with the backend: no stream is to
// blame, nothing is half done, and all goes on once it is mended.
func TestTroubleIsNotTheStreams(t *testing.T) {
	server := testenv.StartRedis(t)
	admin := server.Client(t)
	do := func(t *testing.T, command ...any) {
		t.Helper()
		if err := admin.Do(t.Context(), command...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	do(t, "ACL", "SETUSER", "worker", "on", ">secret", "~*", "+@all")
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), Username: "worker", Password: "secret", MaxRetries: -1, Protocol: 2, DisableIdentity: true})
	defer client.Close()
	for _, fault := range []struct{ apply, mend []any }{
		{[]any{"CONFIG", "SET", "maxmemory", "1"}, []any{"CONFIG", "SET", "maxmemory", "0"}},
		{[]any{"CONFIG", "SET", "min-replicas-to-write", "1"}, []any{"CONFIG", "SET", "min-replicas-to-write", "0"}},
		{[]any{"ACL", "SETUSER", "worker", "-hset"}, []any{"ACL", "SETUSER", "worker", "+hset"}},
		{[]any{"ACL", "SETUSER", "worker", "-hset", "-hdel"}, []any{"ACL", "SETUSER", "worker", "+@all"}},
		{[]any{"ACL", "SETUSER", "worker", "-hincrby"}, []any{"ACL", "SETUSER", "worker", "+hincrby"}},
		{[]any{"ACL", "SETUSER", "worker", "-hget"}, []any{"ACL", "SETUSER", "worker", "+hget"}},
		{[]any{"ACL", "SETUSER", "worker", "-hmget"}, []any{"ACL", "SETUSER", "worker", "+hmget"}},
	} {
		t.Run(fmt.Sprint(fault.apply...), func(t *testing.T) {
			ns := testenv.Namespace(t)
			s := begin(t, client, ns)
			reader := begin(t, admin, ns)
			commitAll(t, s, effect("before", func(f *projector.Effects) {
				f.Row("there").Add("n", 5)
				f.Row("there").SetString("name", "old")
			}))
			change := func(id string) projector.Change {
				return effect(id, func(f *projector.Effects) {
					f.Row("set").SetString("name", "new")
					f.Row("there").Add("m", 1)
					f.Row("there").Add("n", 1)
					f.Row("there").SetString("name", "new")
					f.Row("new").Add("n", 1)
				})
			}
			changes := []projector.Change{change("a"), change("b")}
			do(t, fault.apply...)
			refused, err := s.Commit(t.Context(), 1, changes)
			do(t, fault.mend...)
			if err == nil || refused != nil {
				t.Fatalf("Commit = %v, %v; want an error of the backend and none of a stream", refused, err)
			}
			want := "map[n:5 name:old]"
			if slices.Contains(fault.apply, any("-hdel")) {
				want = "map[m:0 n:5 name:old]" // what the user may not take back is nothing
			}
			wantRow(t, reader, "there", want)
			wantRow(t, reader, "new", "map[]")
			wantRow(t, reader, "set", "map[]")
			for _, c := range changes {
				wantStand(t, reader, c.Key, projector.Checkpoint{})
			}
			commitAll(t, s, changes...)
			commitAll(t, s, changes...)
			wantRow(t, reader, "there", "map[m:2 n:7 name:new]")
			wantRow(t, reader, "new", "map[n:2]")
		})
	}
}

// overLine returns a client of the shared Redis whose one connection runs over a line.
func overLine(t *testing.T, line *faultconn.Line, change func(*redis.Options)) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(testenv.RedisURL(t))
	if err != nil {
		t.Fatal(err)
	}
	options.Dialer, options.PoolSize = line.Dialer(nil), 1
	change(options)
	client := redis.NewClient(options)
	t.Cleanup(func() { client.Close() })
	return client
}

// The reply of a commit of many streams is cut at every byte: each takes effect once,
// is refused or fails, alone, by a client that repeats nothing and by one that does.
func TestCommitCutAtEveryByte(t *testing.T) {
	for _, c := range []struct {
		name     string
		step     int // every so many bytes; a client that repeats waits in between
		settings func(*redis.Options)
	}{
		{"NoRetries", 1, func(o *redis.Options) { o.MaxRetries, o.Protocol, o.DisableIdentity = -1, 2, true }},
		{"ClientRetries", 4, func(*redis.Options) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			line := new(faultconn.Line)
			ns := testenv.Namespace(t)
			s := begin(t, overLine(t, line, c.settings), ns)
			commitAll(t, s, effect("warm", func(f *projector.Effects) { f.Row("text").SetString("name", "x") }))
			tries, cuts := 0, 0
			for n, whole := 0, false; !whole; n += c.step {
				next := func(id string, fill func(*projector.Effects)) projector.Change {
					return effect(fmt.Sprint(n, "_", id), fill)
				}
				add := func(f *projector.Effects) { f.Row("all").Add("n", 1); f.Row("all").SetInt("last", int64(n)) }
				stale := next("stale", add)
				stale.From, stale.To = at(1), at(2)
				changes := []projector.Change{
					next("a", add), stale, next("b", add),
					next("bad", func(f *projector.Effects) { f.Row("all").Add("n", 100); f.Row("text").Add("name", 1) }),
					next("c", add),
				}
				line.CutAfter(n, 1)
				refused, err := s.Commit(t.Context(), 1, changes)
				whole = line.Cuts() == 0
				cuts += line.Cuts()
				line.CutAfter(0, 0)
				tries++
				if err != nil || len(refused) != 5 {
					t.Fatalf("cut at byte %d: Commit = %v, %v", n, refused, err)
				}
				for i, bad := range refused {
					switch {
					case i == 1 && errors.Is(bad, projector.ErrRefused):
					case i == 3 && errors.Is(bad, projector.ErrEffect):
					case i != 1 && i != 3 && bad == nil:
					default:
						t.Errorf("cut at byte %d: change %d: %v", n, i, bad)
					}
				}
				wantRow(t, s, "all", fmt.Sprintf("map[last:%d n:%d]", n, 3*tries))
				if n > 2000 {
					t.Fatal("the reply never ends")
				}
			}
			if tries < 20 || cuts != tries-1 {
				t.Errorf("only %d of %d replies were cut", cuts, tries)
			}
		})
	}
}

// A server that was restarted does not know the script, and what it confirmed counts.
func TestEffectsAfterARestart(t *testing.T) {
	server := testenv.RedisAOF(t)
	s := begin(t, server.Client(t), "restart")
	add := func(f *projector.Effects) { f.Row("all").Add("n", 1) }
	first, second := effect("1", add), effect("2", add)
	commitAll(t, s, first)
	server.Restart()
	// Connections that the server closed are noticed one by one.
	commitAll(t, s, first, second)
	wantRow(t, s, "all", "map[n:2]")
}

func TestCheckpointsScriptForgotten(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		s, err := redissink.NewCheckpoints(client, config(testenv.Namespace(t)).CheckpointsConfig)
		if err != nil {
			t.Fatal(err)
		}
		none := func(*projector.Effects) {}
		commitAll(t, s, effect("1", none))
		if err := client.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		commitAll(t, s, effect("1b", none), effect("2", none), effect("3", none), effect("4", none))
	})
}

// Of writers that move the same checkpoints one gets through at each step, on every
// kind of server.
func TestCheckpointsOfManyWriters(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		s, err := redissink.NewCheckpoints(client, config(testenv.Namespace(t)).CheckpointsConfig)
		if err == nil {
			err = s.Begin(t.Context(), 1)
		}
		if err != nil {
			t.Fatal(err)
		}
		const writers, steps, streams = 6, 10, 30
		from := make([]projector.Checkpoint, streams)
		for step := range uint64(steps) {
			var mu sync.Mutex
			var wg sync.WaitGroup
			to := make([][]projector.Checkpoint, streams)
			for range writers {
				wg.Go(func() {
					changes := make([]projector.Change, streams)
					for i := range changes {
						changes[i] = effect(fmt.Sprint(i), func(*projector.Effects) {})
						changes[i].From, changes[i].To = from[i], at(step+1)
					}
					refused, err := s.Commit(t.Context(), 1, changes)
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						t.Error(err)
						return
					}
					for i := range changes {
						switch {
						case refused == nil || refused[i] == nil:
							to[i] = append(to[i], changes[i].To)
						case !errors.Is(refused[i], projector.ErrRefused):
							t.Error(refused[i])
						}
					}
				})
			}
			wg.Wait()
			for i := range to {
				if len(to[i]) != 1 {
					t.Fatalf("%d writers got through step %d of stream %d; want one", len(to[i]), step, i)
				}
				from[i] = to[i][0]
				wantStand(t, s, "cart-"+fmt.Sprint(i), from[i])
			}
		}
	})
}

// A checkpoint that cannot be read concerns its stream alone, one whose hash is
// something else all streams of its partition.
func TestDamagedCheckpointsOfEffects(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		ns := testenv.Namespace(t)
		cfg := config(ns).CheckpointsConfig
		cfg.Partitions = 1
		s, err := redissink.NewCheckpoints(client, cfg)
		if err == nil {
			err = s.Begin(t.Context(), 1)
		}
		if err != nil {
			t.Fatal(err)
		}
		none := func(*projector.Effects) {}
		good, bad := effect("good", none), effect("bad", none)
		commitAll(t, s, good, bad)
		hash := "{" + ns + ":0}:checkpoints:totals@1"
		want := map[string]string{good.Key: "1-0 " + good.To.EventID.String(), bad.Key: "1-0 " + bad.To.EventID.String()}
		if got := client.HGetAll(t.Context(), hash).Val(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("the hash holds %v; want %v", got, want)
		}
		keys := []string{bad.Key, good.Key}
		for _, text := range []string{"x", "1-0", "1-0 ", " " + good.To.EventID.String(), "seven " + good.To.EventID.String()} {
			client.HSet(t.Context(), hash, bad.Key, text)
			there, failed, err := s.Checkpoints(t.Context(), 1, keys)
			if err != nil || len(failed) != 2 || failed[0] == nil || failed[1] != nil || there[1] != good.To {
				t.Errorf("%q: Checkpoints = %v, %v, %v; want the first alone to fail", text, there, failed, err)
			}
			next := []projector.Change{bad, good}
			next[0].From, next[0].To = bad.To, at(2)
			refused, err := s.Commit(t.Context(), 1, next)
			if err != nil || len(refused) != 2 || refused[0] == nil || errors.Is(refused[0], projector.ErrRefused) || refused[1] != nil {
				t.Errorf("%q: Commit = %v, %v; want the first alone to fail", text, refused, err)
			}
		}
		client.Del(t.Context(), hash)
		client.Set(t.Context(), hash, "x", 0)
		_, failed, err := s.Checkpoints(t.Context(), 1, keys)
		if err != nil || len(failed) != 2 || slices.Contains(failed, nil) || !strings.Contains(failed[0].Error(), hash) {
			t.Errorf("Checkpoints = %v, %v; want both to fail, and the key named", failed, err)
		}
		refused, err := s.Commit(t.Context(), 1, []projector.Change{good, bad})
		if err != nil || len(refused) != 2 || slices.Contains(refused, nil) || !strings.Contains(refused[0].Error(), hash) {
			t.Errorf("Commit = %v, %v; want both to fail, and the key named", refused, err)
		}
	})
}

// With another number of partitions the checkpoints would not be found, and
// everything happen again.
func TestPartitionsCannotChange(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		ns := testenv.Namespace(t)
		cfg := config(ns).CheckpointsConfig
		start := func(partitions int, g projector.Generation) error {
			cfg.Partitions = partitions
			s, err := redissink.NewCheckpoints(client, cfg)
			if err != nil {
				t.Fatal(err)
			}
			return s.Begin(t.Context(), g)
		}
		for range 2 {
			if err := start(4, 1); err != nil {
				t.Fatal(err)
			}
		}
		if err := start(8, 1); err == nil || !strings.Contains(err.Error(), "4 partitions") || !strings.Contains(err.Error(), "Partitions is 8") {
			t.Errorf("Begin with other partitions: %v", err)
		}
		if err := start(8, 2); err != nil {
			t.Errorf("Begin of another generation: %v", err)
		}
		// What the namespace was created with has the last word.
		client.HSet(t.Context(), "{"+ns+"}:meta", "partitions", 4)
		if err := start(16, 3); err == nil || !strings.Contains(err.Error(), "{"+ns+"}:meta") {
			t.Errorf("Begin with partitions the namespace does not have: %v", err)
		}
		if err := start(4, 3); err != nil {
			t.Error(err)
		}
	})
}

// A server that is gone is trouble with the backend, and not with each key.
func TestServerGone(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t)
	client := server.Client(t)
	documents, effects := open(t, client, "gone"), begin(t, client, "gone")
	server.Kill()
	for _, s := range []projector.Sink{documents, effects} {
		there, failed, err := s.Checkpoints(t.Context(), 1, []string{"cart-1", "cart-2"})
		if err == nil || failed != nil || there != nil {
			t.Errorf("Checkpoints = %v, %v, %v; want an error of the backend", there, failed, err)
		}
	}
	refused, err := effects.Commit(t.Context(), 1, []projector.Change{effect("1", func(f *projector.Effects) { f.Row("a").Add("n", 1) })})
	if err == nil || refused != nil {
		t.Errorf("Commit = %v, %v; want an error of the backend", refused, err)
	}
}

func TestEffectsRefuseEviction(t *testing.T) {
	server := testenv.StartRedis(t, "--maxmemory-policy", "allkeys-lru")
	s, err := redissink.NewDelta(server.Client(t), config("evict"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Begin(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "noeviction") {
		t.Errorf("Begin = %v; want the refusal of allkeys-lru", err)
	}
}
