package balancer_test

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/balancer"
	"github.com/projectord/projectord/projector/lease"
)

// The tests here are about what was found wrong with a comparable client; the table in
// docs/guides/balancer.md says what each hole is. Their numbers are its.

// pass has time pass, and looks meanwhile.
func pass(t *testing.T, d time.Duration, look func()) {
	t.Helper()
	began := time.Now()
	testenv.Wait(t, waitLong, func() error {
		if look(); time.Since(began) < d {
			return fmt.Errorf("%s have passed", time.Since(began))
		}
		return nil
	})
}

// workers joins some that share n streams.
func workers(t *testing.T, b *balancer.Balancer, count, capacity int) []*balancer.Worker {
	t.Helper()
	all := make([]*balancer.Worker, count)
	for i := range all {
		all[i] = join(t, b, balancer.WorkerConfig{Capacity: capacity})
	}
	return all
}

// Of 1,000 streams of a process that is killed none is lost, whatever the number of
// survivors.
func TestHole01_KilledWithAThousand(t *testing.T) {
	b := open(t, testenv.Redis(t), 0)
	announce(t, b, names(1000)...)
	p := start(t, testenv.RedisURL(t), b.Namespace(), "victim", 1000, shortTTL)
	p.says("assigned", 1000)
	survivors := workers(t, b, 3, 1000)
	p.kill()
	owned(t, 1000, survivors...)
}

// A worker that was not there when others died takes over all the same, and so does one
// that was there and heard nothing of it, because it lost its connections.
func TestHole02_NobodyThereWhenItHappens(t *testing.T) {
	t.Run("NotThere", func(t *testing.T) {
		client := testenv.Redis(t)
		b := open(t, client, 0)
		announce(t, b, names(51)...)
		died(t, b, client, 50)
		owned(t, 51, workers(t, b, 1, 100)...)
	})
	t.Run("NotConnected", func(t *testing.T) {
		server := testenv.StartRedis(t)
		client := server.Client(t)
		b := open(t, client, 0)
		announce(t, b, names(50)...)
		m := stranger(t, b, client, waitLong)
		if batch, err := m.Read(t.Context(), []int{0}, 50, 0); err != nil || len(batch.Pointers) != 50 {
			t.Fatal(len(batch.Pointers), err)
		}
		w := join(t, b, balancer.WorkerConfig{TTL: time.Second})
		announce(t, b, "last")
		owned(t, 1, w) // it has looked for dead ones by now
		if err := client.Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal").Err(); err != nil {
			t.Fatal(err)
		}
		dies(t, b, client, m)
		owned(t, 51, w)
	})
}

// Whether Redis deletes expired keys does not matter: here it deletes none.
func TestHole03_NothingExpiresInTime(t *testing.T) {
	server := testenv.StartRedis(t, "--enable-debug-command", "yes")
	client := server.Client(t)
	if err := client.Do(t.Context(), "DEBUG", "SET-ACTIVE-EXPIRE", "0").Err(); err != nil {
		t.Fatal(err)
	}
	pipe := client.Pipeline()
	for i := range 20_000 {
		pipe.Set(t.Context(), "other-"+strconv.Itoa(i), "", time.Millisecond)
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := open(t, client, 0)
	announce(t, b, names(100)...)
	p := start(t, server.URL(), b.Namespace(), "victim", 100, shortTTL)
	p.says("assigned", 100)
	p.kill()
	owned(t, 100, workers(t, b, 1, 100)...)
}

// A restart of Redis changes nothing about how deaths are found.
func TestHole04_RedisRestarts(t *testing.T) {
	server := testenv.RedisAOF(t)
	b := open(t, server.Client(t), 0)
	announce(t, b, names(9)...)
	p := start(t, server.URL(), b.Namespace(), "victim", 9, shortTTL)
	p.says("assigned", 9)
	server.Restart()
	p.kill()
	owned(t, 9, workers(t, b, 1, 9)...)
}

// In a cluster what died is found on all nodes.
func TestHole05_Cluster(t *testing.T) {
	client := testenv.Cluster(t)
	b := open(t, client, 8)
	announce(t, b, names(301)...)
	died(t, b, client, 300)
	owned(t, 301, workers(t, b, 2, 200)...)
}

func TestHole06_OtherDatabase(t *testing.T) {
	server := testenv.StartRedis(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), DB: 3, DisableIdentity: true})
	t.Cleanup(func() { client.Close() })
	b := open(t, client, 0)
	announce(t, b, names(11)...)
	died(t, b, client, 10)
	owned(t, 11, workers(t, b, 1, 20)...)
}

// Managed servers have no CONFIG.
func TestHole07_NoConfig(t *testing.T) {
	server := testenv.StartRedis(t, "--rename-command", "CONFIG", "")
	client := server.Client(t)
	b := open(t, client, 0)
	announce(t, b, names(11)...)
	died(t, b, client, 10)
	owned(t, 11, workers(t, b, 1, 20)...)
}

// What an owner that was stuck writes is refused by its token: whoever has the stream after
// it has a higher one. A process that is stuck is in TestStopped.
func TestHole08_FencingToken(t *testing.T) {
	client := testenv.Redis(t)
	b := open(t, client, 0)
	announce(t, b, "cart")
	written := make(map[string]uint64) // a store that compares
	write := func(n balancer.Notification) bool {
		if n.Token < written[n.Stream] {
			return false
		}
		written[n.Stream] = n.Token
		return true
	}
	var before balancer.Notification
	for range 5 {
		w := join(t, b, balancer.WorkerConfig{TTL: shortTTL})
		now := assigned(t, w, 1)["cart"]
		if !write(now) {
			t.Error("the owner was refused")
		}
		if before.Token > 0 && write(before) {
			t.Error("the owner before was not refused")
		}
		before = now
		mustClose(t, w)
	}
}

// A stream that is announced twice has one owner.
func TestHole09_AnnouncedTwice(t *testing.T) {
	client := testenv.Redis(t)
	b := open(t, client, 0)
	for range 3 {
		announce(t, b, names(100)...)
	}
	all := workers(t, b, 2, 200)
	owned(t, 100, all...)
	announce(t, b, names(100)...)
	owned(t, 100, all...)
	for _, w := range all {
		assigned(t, w, len(w.Held()))
	}
	if n := client.XLen(t.Context(), logKey(b, 0)).Val(); n != 100 {
		t.Error("the log has", n, "entries for 100 streams")
	}
}

// Of a stream that one worker was given twice nothing stays behind when it is finished.
func TestHole10_TwiceInOneWorker(t *testing.T) {
	client := testenv.Redis(t)
	b := open(t, client, 0)
	announce(t, b, "cart")
	announce(t, b, "cart")
	// A pointer more than there should be, as healing leaves one.
	log, err := lease.NewLog(client, lease.Config{Namespace: b.Namespace(), Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Announce(t.Context(), []string{"cart"}); err != nil {
		t.Fatal(err)
	}
	w := join(t, b, balancer.WorkerConfig{})
	assigned(t, w, 1)
	mustFinish(t, w, "cart")
	testenv.Wait(t, waitLong, func() error {
		if sum := client.XPending(t.Context(), logKey(b, 0), "workers").Val(); sum.Count > 0 || len(w.Notifications()) > 0 || len(w.Held()) > 0 {
			return fmt.Errorf("pending are %d, told %d, held %v", sum.Count, len(w.Notifications()), w.Held())
		}
		return nil
	})
}

// A worker that dies between being given streams and leasing them loses none.
func TestHole11_DiesBeforeTheLease(t *testing.T) {
	client := testenv.Redis(t)
	b := open(t, client, 0)
	announce(t, b, names(5000)...)
	m := stranger(t, b, client, 200*time.Millisecond)
	if batch, err := m.Read(t.Context(), []int{0}, 5000, 0); err != nil || len(batch.Pointers) != 5000 {
		t.Fatal(len(batch.Pointers), err)
	}
	owned(t, 5000, workers(t, b, 2, 3000)...)
}

// Whoever begins takes what the dead had, however it is mixed with what others have, and
// leaves them theirs.
func TestHole12_DeadAmongTheLiving(t *testing.T) {
	client := testenv.Redis(t)
	b := open(t, client, 0)
	const ttl = time.Second
	living := join(t, b, balancer.WorkerConfig{Name: "living", Capacity: 20, TTL: ttl})
	announce(t, b, names(20)...)
	before := assigned(t, living, 20)
	announce(t, b, "dead-1", "dead-2", "dead-3")
	died(t, b, client, 2)
	w := join(t, b, balancer.WorkerConfig{TTL: ttl})
	for stream := range assigned(t, w, 3) {
		if !strings.HasPrefix(stream, "dead") {
			t.Errorf("%s was taken from one who lives", stream)
		}
	}
	pass(t, 2*ttl, func() { // others look meanwhile
		pending := int64(0)
		for consumer, n := range client.XPending(t.Context(), logKey(b, 0), "workers").Val().Consumers {
			if strings.HasPrefix(consumer, "living.") {
				pending += n
			}
		}
		if pending != 20 {
			t.Fatal("of who lives are pending", pending)
		}
	})
	for _, a := range living.Held() {
		if a.Token != before[a.Stream].Token {
			t.Error("it was assigned again:", a)
		}
	}
	owned(t, 23, living, w)
}

// A worker that is alone, and comes back under its name, has its streams again.
func TestHole13_ComesBack(t *testing.T) {
	b := open(t, testenv.Redis(t), 0)
	announce(t, b, names(10)...)
	p := start(t, testenv.RedisURL(t), b.Namespace(), "pod-0", 10, shortTTL)
	p.says("assigned", 10)
	p.kill()
	w := join(t, b, balancer.WorkerConfig{Name: "pod-0", Capacity: 10, TTL: shortTTL})
	assigned(t, w, 10)
}

// More than 10,000 streams of one that died are taken over.
func TestHole14_TenThousandPending(t *testing.T) {
	client := testenv.Redis(t)
	b := open(t, client, 0)
	announce(t, b, names(10_500)...)
	died(t, b, client, 10_499)
	owned(t, 10_500, workers(t, b, 1, 11_000)...)
}

// An entry that is no announcement stops nobody.
func TestHole15_PoisonEntry(t *testing.T) {
	client := testenv.Redis(t)
	b := open(t, client, 0)
	announce(t, b, names(5)...)
	for _, fields := range [][]string{{"lbs-input", "{not json"}, {"s", ""}, {"v", "1"}, {"s", "unknown", "v", "x"}} {
		if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: logKey(b, 0), Values: fields}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	announce(t, b, "after")
	w := join(t, b, balancer.WorkerConfig{})
	assigned(t, w, 6)
	testenv.Wait(t, waitLong, func() error {
		if n := client.XPending(t.Context(), logKey(b, 0), "workers").Val().Count; n != 6 {
			return fmt.Errorf("pending are %d", n)
		}
		return nil
	})
}

// A round trip that fails stops nobody, whether it reached Redis or not.
func TestHole16_OneFailure(t *testing.T) {
	server := testenv.StartRedis(t)
	client := server.Client(t)
	b := open(t, client, 0)
	cut := newFlaky(t, client)
	w := join(t, b, balancer.WorkerConfig{Capacity: 1000})
	for i := range 20 {
		for _, stream := range []string{"before-", "after-"} {
			cut.before.Store(int64(i % 7))
			cut.after.Store(int64(i % 5))
			for b.Announce(t.Context(), balancer.Announcement{Stream: stream + strconv.Itoa(i)}) != nil { // it can be repeated
			}
		}
	}
	testenv.Wait(t, waitLong, func() error {
		if n := len(statuses(t, b)); n != 40 {
			return fmt.Errorf("%d are announced", n)
		}
		return nil
	})
	owned(t, 40, w)
}

// A Redis that is away for longer than a TTL costs a worker its streams, and it has streams
// again once Redis is back.
func TestHole17_Outage(t *testing.T) {
	server := testenv.RedisAOF(t)
	b := open(t, server.Client(t), 0)
	announce(t, b, names(10)...)
	w := join(t, b, balancer.WorkerConfig{TTL: shortTTL, Retry: balancer.Retry{Max: 200 * time.Millisecond}})
	assigned(t, w, 10)
	server.Kill()
	for range 10 {
		if n := nextOf(t, w, balancer.Disowned); n.Err == nil {
			t.Error("no reason is given")
		}
	}
	if w.Err() == nil || len(w.Held()) > 0 {
		t.Error("the worker holds", w.Held(), w.Err())
	}
	server.Restart()
	for range 10 {
		nextOf(t, w, balancer.Assigned)
	}
	if err := w.Err(); err != nil {
		t.Error(err)
	}
}

// While Redis is stuck for longer than a TTL every owner knows that it has nothing any
// more, before anybody else can have it; after that each stream has one owner.
func TestHole18_RedisIsStuck(t *testing.T) {
	server := testenv.StartRedis(t)
	b := open(t, server.Client(t), 0)
	announce(t, b, names(40)...)
	config := balancer.WorkerConfig{Capacity: 40, TTL: shortTTL}
	all := []*balancer.Worker{join(t, b, config), join(t, b, config), join(t, b, config)}
	owned(t, 40, all...)
	server.Stop()
	owned(t, 0, all...)
	server.Continue()
	var wg sync.WaitGroup
	for _, w := range all {
		wg.Go(func() {
			have := make(map[string]uint64)
			for n := range w.Notifications() {
				switch n.Kind {
				case balancer.Assigned:
					if have[n.Stream] > 0 {
						t.Errorf("%s was assigned without being disowned before", n.Stream)
					}
					have[n.Stream] = n.Token
				case balancer.Disowned:
					if have[n.Stream] != n.Token {
						t.Errorf("%s was disowned with token %d, and assigned with %d", n.Stream, n.Token, have[n.Stream])
					}
					delete(have, n.Stream)
				}
			}
		})
	}
	owned(t, 40, all...)
	for _, w := range all {
		mustClose(t, w)
	}
	wg.Wait()
}

// Who is stuck for less than a TTL keeps everything.
func TestHole18_ShortStall(t *testing.T) {
	server := testenv.StartRedis(t)
	b := open(t, server.Client(t), 0)
	announce(t, b, names(40)...)
	const ttl = 3 * time.Second
	w, other := join(t, b, balancer.WorkerConfig{TTL: ttl}), join(t, b, balancer.WorkerConfig{TTL: ttl})
	owned(t, 40, w, other)
	before := append(w.Held(), other.Held()...)
	server.Stop()
	pass(t, ttl/3, func() {})
	server.Continue()
	announce(t, b, "after")
	owned(t, 41, w, other)
	for _, a := range before {
		if !w.Holds(a) && !other.Holds(a) {
			t.Error("its worker has lost", a)
		}
	}
}

// A worker that ends in good order finishes nothing of what it has not finished, and others
// have it at once: the TTL is longer than the test waits.
func TestHole19_GracefulEnd(t *testing.T) {
	b := open(t, testenv.Redis(t), 0)
	announce(t, b, names(10)...)
	one := join(t, b, balancer.WorkerConfig{TTL: 10 * waitLong})
	assigned(t, one, 10)
	two := join(t, b, balancer.WorkerConfig{TTL: 10 * waitLong})
	mustClose(t, one)
	assigned(t, two, 10)
}

// Closing with hundreds of notifications that nobody read, twice, does not block and does
// not panic. All the states are in TestClose.
func TestHole20_CloseUndrained(t *testing.T) {
	b := open(t, testenv.Redis(t), 0)
	announce(t, b, names(3000)...)
	w := join(t, b, balancer.WorkerConfig{Capacity: 3000})
	owned(t, 3000, w)
	mustClose(t, w)
	mustClose(t, w)
	if all := drained(t, w); len(all) != 1 {
		t.Error("after the end the channel had", len(all))
	}
}

// A second process with a name fails, and the first goes on.
func TestHole21_SameName(t *testing.T) {
	for _, variable := range []string{"POD_NAME", "POD_IP"} {
		b := open(t, testenv.Redis(t), 0)
		announce(t, b, names(10)...)
		config := balancer.WorkerConfig{TTL: shortTTL, Getenv: func(name string) string {
			if name == variable {
				return "pod-7"
			}
			return ""
		}}
		w := join(t, b, config)
		assigned(t, w, 10)
		_, err := b.Join(t.Context(), config)
		wantErr(t, err, lease.ErrNameTaken)
		_, err = b.Join(t.Context(), config)
		wantErr(t, err, lease.ErrNameTaken)
		owned(t, 10, w)
		if w.ID() != "pod-7" || len(w.Notifications()) > 0 {
			t.Error("the worker is", w.ID(), "and was told", len(w.Notifications()))
		}
	}
}

// Streams that are held for many TTLs stay where they are, all of them: there is one
// heartbeat for all.
func TestHole22_HeldForLong(t *testing.T) {
	client := testenv.Redis(t)
	b := open(t, client, 0)
	announce(t, b, names(3000)...)
	const ttl = 300 * time.Millisecond
	w := join(t, b, balancer.WorkerConfig{Capacity: 3000, TTL: ttl})
	first := assigned(t, w, 3000)
	other := join(t, b, balancer.WorkerConfig{Capacity: 3000, TTL: ttl})
	pass(t, 5*ttl, func() {
		if len(other.Held()) > 0 {
			t.Fatal("the other worker has", len(other.Held()))
		}
	})
	for _, a := range w.Held() {
		if first[a.Stream].Token != a.Token {
			t.Fatal("assigned again:", a)
		}
	}
	owned(t, 3000, w, other)
}

// Streams that are announced and finished again and again leave neither goroutines nor
// keys.
func TestHole23_AgainAndAgain(t *testing.T) {
	client := testenv.Redis(t)
	b := open(t, client, 0)
	w := join(t, b, balancer.WorkerConfig{})
	cycle := func() {
		announce(t, b, "cart")
		assigned(t, w, 1)
		mustFinish(t, w, "cart")
	}
	cycle()
	goroutines, keys := runtime.NumGoroutine(), keysOf(t, client, b)
	for range 49 {
		cycle()
	}
	testenv.Wait(t, waitLong, func() error {
		if n := runtime.NumGoroutine(); n > goroutines+2 {
			return fmt.Errorf("there were %d goroutines, and are %d", goroutines, n)
		}
		return nil
	})
	if now := keysOf(t, client, b); len(now) > len(keys) {
		t.Error("there were the keys", keys, "and are", now)
	}
	if n, err := client.XLen(t.Context(), logKey(b, 0)).Result(); n != 0 || err != nil {
		t.Error("the log has", n, err)
	}
}

func keysOf(t *testing.T, client redis.UniversalClient, b *balancer.Balancer) []string {
	t.Helper()
	keys, err := client.Keys(t.Context(), "{"+b.Namespace()+"*").Result()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// The context of a claim bounds the claim, not the ownership.
func TestHole24_ContextOfAClaim(t *testing.T) {
	client := testenv.Redis(t)
	b := open(t, client, 0)
	announce(t, b, "cart", "last")
	died(t, b, client, 1)
	const ttl = shortTTL
	w := join(t, b, balancer.WorkerConfig{TTL: ttl, OfferExpired: true})
	streams := make(map[string]bool)
	for range 2 {
		streams[nextOf(t, w, balancer.Expired).Stream] = true
	}
	if !streams["cart"] || len(w.Held()) > 0 {
		t.Fatal("offered are", streams)
	}
	ctx, cancel := context.WithCancel(t.Context())
	a, err := w.Claim(ctx, "cart")
	if err != nil || string(a.Info) != "info of cart" || a.Token == 0 {
		t.Fatal(a, err)
	}
	cancel()
	other := join(t, b, balancer.WorkerConfig{TTL: ttl})
	assigned(t, other, 1) // "last", whose offer passes after three TTLs
	if n := nextOf(t, w, balancer.Disowned); n.Stream != "last" {
		t.Error("disowned was", n.Stream)
	} else {
		wantErr(t, n.Err, balancer.ErrUnclaimed)
	}
	if again, err := w.Claim(t.Context(), "cart"); err != nil || again.Token != a.Token {
		t.Error("claimed again it is", again, err)
	}
	_, err = w.Claim(t.Context(), "last")
	wantErr(t, err, balancer.ErrNotOffered)
	owned(t, 2, w, other)
	mustFinish(t, w, "cart")
}

// A handler that hangs loses its stream to another worker; one that says that it gets on
// keeps it.
func TestHole25_StuckHandler(t *testing.T) {
	b := open(t, testenv.Redis(t), 0)
	w := join(t, b, balancer.WorkerConfig{Capacity: 2, Idle: 300 * time.Millisecond})
	announce(t, b, "stuck", "busy")
	all := assigned(t, w, 2)
	stuck := w.Context(all["stuck"].Assignment)
	getsOn, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for getsOn.Err() == nil {
			if err := w.Progress(all["busy"].Assignment); err != nil {
				t.Error(err)
				return
			}
			<-tick.C
		}
	})
	defer wg.Wait()
	defer stop()
	other := join(t, b, balancer.WorkerConfig{Capacity: 2})
	n := nextOf(t, w, balancer.Disowned)
	wantErr(t, n.Err, balancer.ErrIdle)
	if n.Stream != "stuck" || w.Holds(n.Assignment) || stuck.Err() == nil {
		t.Error("disowned was", n.Stream, stuck.Err())
	}
	wantErr(t, context.Cause(stuck), balancer.ErrIdle)
	if a := assigned(t, other, 1)["stuck"]; !other.Holds(a.Assignment) || !w.Holds(all["busy"].Assignment) {
		t.Error("held are", other.Held(), w.Held())
	}
	wantErr(t, w.Progress(n.Assignment), balancer.ErrNotHeld)
}

// What was announced before the first worker came is handed out.
func TestHole26_AnnouncedBefore(t *testing.T) {
	client := testenv.Redis(t)
	b := open(t, client, 0)
	if err := client.XGroupDestroy(t.Context(), logKey(b, 0), "workers").Err(); err != nil { // there is none yet
		t.Fatal(err)
	}
	announce(t, b, names(10)...)
	assigned(t, join(t, b, balancer.WorkerConfig{}), 10)
}

// A worker takes no more than it has room for, whether its channel is read or not, and the
// rest stays for others.
func TestHole27_Capacity(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		b := open(t, client, 2)
		announce(t, b, names(1000)...)
		slow := join(t, b, balancer.WorkerConfig{Capacity: 100})
		owned(t, 100, slow)
		other := join(t, b, balancer.WorkerConfig{Capacity: 900})
		owned(t, 1000, slow, other)
		if n := len(slow.Held()); n != 100 {
			t.Error("the worker with room for 100 has", n)
		}
		for stream := range assigned(t, slow, 100) {
			mustFinish(t, slow, stream)
		}
		announce(t, b, "more")
		assigned(t, slow, 1)
	})
}

// Consumers of the dead are removed.
func TestHole28_ConsumersOfTheDead(t *testing.T) {
	client := testenv.Redis(t)
	b := open(t, client, 0)
	announce(t, b, "cart")
	for range 20 {
		w := join(t, b, balancer.WorkerConfig{TTL: 100 * time.Millisecond})
		assigned(t, w, 1)
		mustClose(t, w)
	}
	w := join(t, b, balancer.WorkerConfig{TTL: 100 * time.Millisecond})
	assigned(t, w, 1)
	testenv.Wait(t, waitLong, func() error {
		consumers, err := client.XInfoConsumers(t.Context(), logKey(b, 0), "workers").Result()
		if len(consumers) > 1 {
			return fmt.Errorf("there are %d consumers", len(consumers))
		}
		return err
	})
}

// What dies in one balancer concerns no other one.
func TestHole29_OtherBalancers(t *testing.T) {
	client := testenv.Redis(t)
	b, other := open(t, client, 0), open(t, client, 0)
	stranger := join(t, other, balancer.WorkerConfig{TTL: shortTTL})
	announce(t, b, names(11)...)
	died(t, b, client, 10)
	owned(t, 11, workers(t, b, 1, 20)...)
	if n := len(stranger.Notifications()); n > 0 {
		t.Error("the worker of another balancer was told", n, "things")
	}
}

// Any name is handed out, taken over and finished as it is.
func TestHole30_AnyName(t *testing.T) {
	odd := []string{"a:b", "a:lock:b", "a_b", "{tag}:x", "with space", "\x00\xff\n", "ключ", strings.Repeat("n", 1024), "1", "[dt]$", "workers"}
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		b := open(t, client, 0)
		announce(t, b, odd...)
		died(t, b, client, len(odd)-1)
		w := join(t, b, balancer.WorkerConfig{})
		all := assigned(t, w, len(odd))
		for _, stream := range odd {
			if _, ok := all[stream]; !ok {
				t.Errorf("%q was not assigned", stream)
			}
			mustFinish(t, w, stream)
		}
		if s := statuses(t, b); len(s) > 0 {
			t.Error("left are", s)
		}
	})
}

// Finishing is one step: done wholly or not at all, and done again where its reply was
// lost.
func TestHole31_FinishIsOneStep(t *testing.T) {
	client := testenv.StartRedis(t).Client(t)
	b := open(t, client, 0)
	w := join(t, b, balancer.WorkerConfig{Capacity: 100, TTL: waitLong})
	cut := newFlaky(t, client)
	for i := range 30 {
		stream := "cart-" + strconv.Itoa(i)
		announce(t, b, stream)
		a := assigned(t, w, 1)[stream].Assignment
		cut.before.Store(int64(i % 3))
		cut.after.Store(int64(i % 4))
		for try := 0; ; try++ { // an error leaves open what happened, and the next call finds out
			if err := w.Finish(t.Context(), a); err == nil {
				break
			} else if try > 3 {
				t.Fatal(err)
			}
		}
		cut.before.Store(0)
		cut.after.Store(0)
	}
	testenv.Wait(t, waitLong, func() error {
		pending := client.XPending(t.Context(), logKey(b, 0), "workers").Val().Count
		leases := client.Keys(t.Context(), "{"+b.Namespace()+":0}:leases*").Val()
		if s := statuses(t, b); len(s) > 0 || pending > 0 || len(leases) > 0 {
			return fmt.Errorf("left are %v, pending %d, leases %v", s, pending, leases)
		}
		return nil
	})
}

// A server that deletes data when memory runs out is refused.
func TestHole32_Eviction(t *testing.T) {
	server := testenv.StartRedis(t, "--maxmemory-policy", "allkeys-lru")
	_, err := balancer.Open(t.Context(), server.Client(t), balancer.Config{})
	if err == nil || !strings.Contains(err.Error(), "noeviction") {
		t.Error("a server with allkeys-lru was accepted:", err)
	}
}
