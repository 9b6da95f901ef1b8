package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/embedded"
	"github.com/projectord/projectord/internal/story"
)

// stage is where the story takes place.
type stage struct {
	crew   *story.Crew
	client *redis.Client
	out    io.Writer
	err    error // the first that went wrong
}

// newCrew returns who works in a story.
func newCrew(redisURL string) *story.Crew {
	return story.NewCrew("leads", redisURL, "PROJECTORD_LOG_LEVEL=error")
}

// tell tells what it is about, and checks what it tells.
func tell(ctx context.Context, server *embedded.Server, out io.Writer) error {
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), DisableIdentity: true, Protocol: 2})
	defer client.Close()
	s := &stage{crew: newCrew(server.URL()), client: client, out: out}
	defer s.crew.Kill()

	s.say(`A program of the sales team writes its leads into one Redis stream, and sensors write into two
more, of which they keep few readings. None of them knows of projectord:`, "",
		"  XADD leads * event_type lead.created lead_id 101 created_by shaon",
		"  XADD sensor_readings:north MAXLEN ~ 1000 * temperature 21.5 humidity 40 location room_1", "")
	s.daemon(ctx, "one")
	s.add(ctx, "leads", "event_type", "lead.created", "lead_id", "101", "created_by", "shaon")
	s.add(ctx, "leads", "event_type", "lead.created", "lead_id", "102", "created_by", "ann")
	s.add(ctx, "leads", "event_type", "lead.contacted", "lead_id", "101", "contacted_by", "ann")
	s.add(ctx, "sensor_readings:north", reading("room_1", "21.5", "40")...)
	s.await(ctx, "lead:current:101", "status=contacted", "contacts=1", "created_by=shaon")
	s.await(ctx, "lead:current:102", "status=new", "created_by=ann")
	s.await(ctx, "room:now:room_1", "temperature=21.5", "readings=1")
	s.say("A daemon adopts them, and each lead has a document, made of the entries that are about it:", "",
		"  lead 101:"+s.document(ctx, "lead:current:101"), "")

	s.say("The daemon is killed while 300 more readings come in, in no good moment; another one takes over.", "")
	for n := range 300 {
		s.add(ctx, fmt.Sprint("sensor_readings:", []string{"north", "south"}[n%2]), reading(fmt.Sprint("room_", 1+n%3), fmt.Sprint(10+n%50), "50")...)
		if n == 150 {
			s.crew.Kill()
			s.daemon(ctx, "two")
		}
	}
	s.await(ctx, "climate:all", "readings=301")
	s.say("Every reading took effect once:", "", s.average(ctx), "")

	// Something that cannot be decoded.
	bad := s.add(ctx, "leads", "event_type", "lead.won", "lead_id", "101", "amount", "a lot")
	s.add(ctx, "leads", "event_type", "lead.won", "lead_id", "102", "amount", "250")
	s.add(ctx, "sensor_readings:north", reading("room_2", "19", "41")...)
	s.await(ctx, "climate:all", "readings=302")
	s.says(ctx, "parked", "adopted", "ls", "crm")
	s.says(ctx, `field "amount" is "a lot", which is no number`, "adopted", "ls", "crm")
	s.say(`An amount that is no number has its stream parked, so that order is kept, and no other:`, "",
		`  field "amount" is "a lot", which is no number`, "",
		"Somebody decides to leave the entry out, and what is behind it goes on.", "")
	s.run(ctx, "adopted", "skip", "crm", "leads", bad, "--reason", "a slip", "--by", "ann", "--yes")
	s.await(ctx, "lead:current:102", "status=won", "amount=250")

	s.say("The sensors' streams are deleted, and all read models of rooms are built anew: nothing is missing,", "since what was adopted does not depend on what its producer keeps.", "")
	before := s.document(ctx, "room:now:room_1")
	for _, key := range []string{"sensor_readings:north", "sensor_readings:south"} {
		s.check(client.Del(ctx, key).Err())
	}
	s.run(ctx, "projections", "rebuild", "rooms", "--again", "--wait")
	if s.err == nil {
		if after := s.document(ctx, "room:now@2:room_1"); after != before {
			s.check(fmt.Errorf("room_1 was %s, and is %s built anew", before, after))
		}
	}
	s.say("  room_1:" + before)
	return s.err
}

func (s *stage) check(err error) {
	if s.err == nil {
		s.err = err
	}
}

// say tells something, as long as nothing went wrong.
func (s *stage) say(lines ...string) {
	if s.err == nil {
		_, s.err = fmt.Fprintln(s.out, strings.Join(lines, "\n"))
	}
}

// daemon starts a daemon as a process of its own.
func (s *stage) daemon(ctx context.Context, name string) {
	_, err := s.crew.Start(ctx, name, nil, "run", "--ttl", "500ms", "--http", "off")
	s.check(err)
}

// add adds an entry as the other program does, and returns its id.
func (s *stage) add(ctx context.Context, key string, fields ...any) string {
	if s.err != nil {
		return ""
	}
	id, err := s.client.XAdd(ctx, produced(key, fields...)).Result()
	s.check(err)
	return id
}

// await waits until a document has fields.
func (s *stage) await(ctx context.Context, key string, fields ...string) {
	if s.err != nil {
		return
	}
	s.check(s.crew.Until(ctx, key+" is complete", func() error {
		text := s.document(ctx, key)
		for _, field := range fields {
			if !slices.Contains(strings.Fields(text), field) {
				return fmt.Errorf("%s has %q, and not %s", key, text, field)
			}
		}
		return nil
	}))
}

// document returns the fields of a document, in a line.
func (s *stage) document(ctx context.Context, key string) string {
	all, err := s.client.HGetAll(ctx, key).Result()
	s.check(err)
	line := ""
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !strings.HasPrefix(name, "_") {
			line += " " + name + "=" + all[name]
		}
	}
	return line
}

// average returns what the readings of all rooms add up to.
func (s *stage) average(ctx context.Context) string {
	var all struct {
		Readings     int64 `redis:"readings"`
		Centidegrees int64 `redis:"centidegrees"`
		Hot          int64 `redis:"hot"`
	}
	s.check(s.client.HGetAll(ctx, "climate:all").Scan(&all))
	return fmt.Sprintf("  all rooms: readings=%d hot=%d, on average %.2f degrees", all.Readings, all.Hot, float64(all.Centidegrees)/100/float64(max(all.Readings, 1)))
}

// run runs a command.
func (s *stage) run(ctx context.Context, args ...string) {
	if s.err == nil {
		_, err := s.crew.Run(ctx, nil, args...)
		s.check(err)
	}
}

// says waits until a command prints something.
func (s *stage) says(ctx context.Context, text string, args ...string) {
	if s.err != nil {
		return
	}
	s.check(s.crew.Until(ctx, "it is said", func() error {
		out, err := s.crew.Run(ctx, nil, args...)
		if err == nil && !strings.Contains(out, text) {
			err = fmt.Errorf("%s does not say %q: %s", strings.Join(args, " "), text, out)
		}
		return err
	}))
}
