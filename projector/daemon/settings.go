package daemon

import (
	"errors"
	"strings"
	"time"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/lease"
)

// settings are what a command is told by flags, environment and file.
type settings struct {
	Namespace string

	RedisURL, RedisUsername, RedisPassword      string
	RedisCAFile, RedisCertFile, RedisKeyFile    string
	PostgresURL, PostgresPassword               string
	ConnectTimeout                              time.Duration
	Partitions, Replicas                        int
	ReplicaTimeout                              time.Duration
	LogLevel, LogFormat, Traces                 string
	Name                                        string
	Only                                        []string
	LeaveOld                                    bool
	TTL, Deadline, DrainTimeout, RetentionEvery time.Duration
	Capacity, Attempts, Handlers                int
	Cache                                       int64
	Snapshots                                   string
	SnapshotEvery                               int

	HTTP, HTTPToken string
	HTTPHosts       []string
	HTTPPprof       bool
}

// setting says all there is to say about a setting: flags, environment, file,
// documents and checks are made of it.
type setting struct {
	// name is that of the flag and of the key in the file. The environment variable is
	// PROJECTORD_ and the name in upper case.
	name    string
	group   string // which commands have it for a flag
	initial string
	into    value
	help    string
	// secret settings may be given by the name of a file that holds them, see
	// fileSuffix, and are never printed. One whose value is a URL is secret in parts.
	secret bool
	// unflagged settings have no flag: a process list would show the value.
	unflagged bool
}

const (
	// general settings concern every command, working those only that run workers.
	general = "general"
	working = "run"

	envPrefix  = "PROJECTORD_"
	fileSuffix = "-file"
	// configSetting is the one setting that no file can hold.
	configSetting = "config"
)

// env returns the environment variable of a setting.
func env(name string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// The values of the setting snapshots.
const (
	snapshotsNone     = "none"
	snapshotsRedis    = "redis"
	snapshotsPostgres = "postgres"
)

// table returns the settings, kept in s.
func (s *settings) table() []setting {
	redisURL := urlValue{&s.RedisURL, redisSchemes, "redis://user:password@127.0.0.1:6379/0"}
	postgresURL := urlValue{&s.PostgresURL, []string{"postgres", "postgresql"}, "postgres://user:password@127.0.0.1:5432/database"}
	words := func(into *string, words ...string) value { return textValue{into: into, words: words} }
	text := func(into *string, kind string) value { return textValue{into: into, name: kind} }
	return []setting{
		{name: "namespace", group: general, initial: keyspace.DefaultNamespace,
			into: textValue{into: &s.Namespace, name: "name", check: keyspace.CheckNamespace},
			help: "which of the stores that share the servers"},

		{name: "redis-url", group: general, initial: "redis://127.0.0.1:6379", into: redisURL, secret: true,
			help: "the Redis with the events; rediss:// for TLS, redis+cluster:// for a node of a Redis Cluster (others by ?addr=host:port), redis+sentinel:// for a Sentinel (?master_name=NAME)"},
		{name: "redis-username", group: general, into: text(&s.RedisUsername, "name"),
			help: "user of the Redis, in place of the one in the URL"},
		{name: "redis-password", group: general, into: text(&s.RedisPassword, "text"), secret: true, unflagged: true,
			help: "password of the Redis, in place of the one in the URL"},
		{name: "redis-ca-file", group: general, into: text(&s.RedisCAFile, "file"),
			help: "PEM certificates that the certificate of the Redis is checked with (default those of the system)"},
		{name: "redis-cert-file", group: general, into: text(&s.RedisCertFile, "file"),
			help: "PEM certificate to show to the Redis"},
		{name: "redis-key-file", group: general, into: text(&s.RedisKeyFile, "file"),
			help: "PEM key of that certificate"},
		{name: "postgres-url", group: general, into: postgresURL, secret: true,
			help: "the Postgres with read models; TLS as its sslmode says"},
		{name: "postgres-password", group: general, into: text(&s.PostgresPassword, "text"), secret: true, unflagged: true,
			help: "password of the Postgres, in place of the one in the URL"},
		{name: "connect-timeout", group: general, initial: "5s", into: timeValue{into: &s.ConnectTimeout, least: time.Millisecond},
			help: "how long a server may take to answer at first"},

		{name: "snapshots", group: general, initial: snapshotsNone, into: words(&s.Snapshots, snapshotsNone, snapshotsRedis, snapshotsPostgres),
			help: "where snapshots of states are kept: none, redis or postgres"},

		{name: "log-level", group: general, initial: "info", into: words(&s.LogLevel, "debug", "info", "warn", "error"),
			help: "what is logged: debug, info, warn or error"},
		{name: "log-format", group: general, initial: "text", into: words(&s.LogFormat, "text", "json"),
			help: "how it is logged: text or json"},
		{name: "traces", group: general, into: textValue{into: &s.Traces, name: "URL", check: checkTraces},
			help: "OpenTelemetry collector to send traces to, by OTLP over HTTP, such as http://127.0.0.1:4318; the rest is said by the OTEL_ variables (default none)"},

		{name: "partitions", group: working, initial: "0", into: numberValue{into: &s.Partitions, most: keyspace.MaxPartitions},
			help: "how many partitions the namespace gets if it does not exist yet; 0 takes what it has, or 16"},
		{name: "replicas", group: working, initial: "0", into: numberValue{into: &s.Replicas},
			help: "how many replicas of Redis confirm what is appended before it counts"},
		{name: "replica-timeout", group: working, initial: "1s", into: timeValue{into: &s.ReplicaTimeout, least: time.Millisecond},
			help: "how long an append waits for them"},
		{name: "name", group: working, into: text(&s.Name, "name"),
			help: "name of this worker, which no other may have (default POD_NAME, POD_IP or one made up)"},
		{name: "only", group: working, into: listValue{&s.Only},
			help: "projections to work on, with commas between (default all the program has)"},
		{name: "leave-old", group: working, initial: "false", into: boolValue{&s.LeaveOld},
			help: "have nothing built only because this code is newer; projections rebuild decides that then"},
		{name: "ttl", group: working, initial: lease.DefaultTTL.String(), into: timeValue{into: &s.TTL, least: leastTTL},
			help: "after how long others take over from a worker that died"},
		{name: "capacity", group: working, initial: number(projector.DefaultCapacity), into: numberValue{into: &s.Capacity, least: 1},
			help: "how many streams are held at a time for each projection"},
		{name: "attempts", group: working, initial: "0", into: numberValue{into: &s.Attempts},
			help: "how often an event is tried before its stream is parked; 0 for " + number(projector.DefaultAttempts) + " times, in reactors " + number(projector.DefaultReactorAttempts)},
		{name: "deadline", group: working, initial: projector.DefaultDeadline.String(), into: timeValue{into: &s.Deadline, least: time.Millisecond},
			help: "how long one event may take"},
		{name: "handlers", group: working, initial: number(projector.DefaultHandlers), into: numberValue{into: &s.Handlers, least: 1},
			help: "how many streams a reactor handles at a time"},
		{name: "cache", group: working, initial: sizeText(projector.DefaultCacheBytes), into: sizeValue{&s.Cache},
			help: "how much memory the states of streams may take that are kept to go on from"},
		{name: "drain-timeout", group: working, initial: "10s", into: timeValue{into: &s.DrainTimeout, least: 100 * time.Millisecond},
			help: "how long a worker that is told to stop may take to finish what is under way and give back what it holds"},
		{name: "snapshot-every", group: working, initial: "100", into: numberValue{into: &s.SnapshotEvery, least: 1},
			help: "after how many events of a stream one is taken"},
		{name: "retention-every", group: working, initial: "0s", into: timeValue{into: &s.RetentionEvery, least: time.Second, never: true},
			help: "how often events that are not wanted any more are removed, by one of the workers; 0 for never"},

		{name: "http", group: working, initial: "127.0.0.1:7070", into: textValue{into: &s.HTTP, name: "address", check: checkHTTP},
			help: "address to answer HTTP on: probes, metrics and the API; port 0 takes a free one, as the default does where it is taken; off is none. One that others can reach takes an http-token"},
		{name: "http-token", group: working, into: text(&s.HTTPToken, "text"), secret: true, unflagged: true,
			help: "bearer token that every request but probes must show"},
		{name: "http-hosts", group: working, into: listValue{&s.HTTPHosts},
			help: "names it may be called by, with commas between, beside its address and those of the loopback"},
		{name: "http-pprof", group: working, initial: "false", into: boolValue{&s.HTTPPprof},
			help: "answer /debug/pprof too"},
	}
}

// leastTTL is the shortest that sessions can have.
const leastTTL = 100 * time.Millisecond

// check checks what concerns more than one setting.
func (s *settings) check() error {
	switch {
	case (s.RedisCertFile == "") != (s.RedisKeyFile == ""):
		return errors.New("redis-cert-file and redis-key-file go together: one of them is missing")
	case s.PostgresPassword != "" && s.PostgresURL == "":
		return errors.New("postgres-password is given, but no postgres-url")
	case s.Snapshots == snapshotsPostgres && s.PostgresURL == "":
		return errors.New("snapshots are to be kept in postgres, but no postgres-url is given")
	case s.RedisCAFile+s.RedisCertFile != "" && !secure(s.RedisURL):
		return errors.New("redis-ca-file and redis-cert-file are for TLS, which redis-url does not ask for: it begins with rediss:// then")
	}
	return s.checkAccess()
}

func number(n int) string { return numberValue{into: &n}.text() }

func sizeText(n int64) string { return sizeValue{&n}.text() }
