package redissink_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/redissink"
)

// hsetDocuments is how many documents a round of BenchmarkCommitAgainstHSET writes, and
// hsetBatch how many at a time.
const (
	hsetDocuments = 20_480
	hsetBatch     = 256
)

// BenchmarkCommitAgainstHSET measures how many documents of six fields a second are
// committed by compare-and-set, and what share that is of the limit: the same fields
// written by HSET, in pipelines of as many, with nothing compared. A round takes each once, one after
// another, first of documents that are new and then of the same ones again; what is
// reported are medians over rounds. Redis' own CPU time depends less on what else the
// machine does.
func BenchmarkCommitAgainstHSET(b *testing.B) {
	server := testenv.StartRedis(b)
	client := server.Client(b)
	sink, err := redissink.New(client, "", "carts")
	if err != nil {
		b.Fatal(err)
	}
	changes := make([]projector.Change, hsetDocuments)
	for i := range changes {
		d := new(projector.Document)
		d.SetInt("lines", int64(i%10))
		d.SetInt("qty", int64(i%70))
		d.SetInt("total", int64(i)*100)
		d.SetString("last_item", fmt.Sprintf("%05dA", i%4000))
		d.SetString("ref", strconv.Itoa(530_000+i))
		d.SetBool("paid", i%2 == 0)
		id := strconv.Itoa(i)
		changes[i] = projector.Change{Stream: eventstore.MustStreamID("cart", id), Key: id, Document: d}
	}
	move := func(version uint64) {
		for i := range changes {
			c := &changes[i]
			c.From, c.To = c.To, projector.Checkpoint{Position: projector.Position{Major: version}, EventID: uuid.New()}
		}
	}
	commit := func() {
		for part := range slices.Chunk(changes, hsetBatch) {
			if refused, err := sink.Commit(b.Context(), 1, part); err != nil || refused != nil {
				b.Fatal(refused, err)
			}
		}
	}
	hset := func() {
		for part := range slices.Chunk(changes, hsetBatch) {
			_, err := client.Pipelined(b.Context(), func(p redis.Pipeliner) error {
				for i := range part {
					c := &part[i]
					args := []any{"_position", c.To.Position.String(), "_event", c.To.EventID.String()}
					for _, f := range c.Document.Fields() {
						args = append(args, f.Name, f.Value.String())
					}
					p.HSet(b.Context(), "hset:"+c.Key, args...)
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	measured := make(map[string][]float64)
	measure := func(name string, do func()) (speed float64) {
		busy, start := redisBusy(b, client), time.Now()
		do()
		speed = hsetDocuments / time.Since(start).Seconds()
		measured[name+"-documents/s"] = append(measured[name+"-documents/s"], speed)
		measured[name+"-redis-µs/document"] = append(measured[name+"-redis-µs/document"], (redisBusy(b, client)-busy)/hsetDocuments*1e6)
		return speed
	}
	for b.Loop() {
		if err := client.FlushDB(b.Context()).Err(); err != nil {
			b.Fatal(err)
		}
		for i := range changes {
			changes[i].To = projector.Checkpoint{}
		}
		for version, name := range []string{"new", "again"} {
			move(uint64(version) + 1)
			limit := measure("hset-"+name, hset)
			speed := measure("commit-"+name, commit)
			measured[name+"/hset"] = append(measured[name+"/hset"], speed/limit)
		}
	}
	b.ReportMetric(0, "ns/op")
	for name, values := range measured {
		slices.Sort(values)
		b.ReportMetric((values[(len(values)-1)/2]+values[len(values)/2])/2, name)
	}
}

// redisBusy returns the CPU seconds that Redis has taken so far.
func redisBusy(b *testing.B, client *redis.Client) (seconds float64) {
	b.Helper()
	text, err := client.Info(b.Context(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_user" || name == "used_cpu_sys" {
			some, err := strconv.ParseFloat(value, 64)
			if err != nil {
				b.Fatal(err)
			}
			seconds += some
		}
	}
	return seconds
}
