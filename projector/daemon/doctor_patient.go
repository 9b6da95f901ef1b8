package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/pgerr"
	"github.com/projectord/projectord/internal/redisx"
	"github.com/projectord/projectord/projector"
)

// patient is what doctor looks at. What its opening checks learn, later ones use: the
// checks of one need are made before those of the next begin.
type patient struct {
	*program
	file   string // of the settings; empty where there is none
	client redis.UniversalClient
	pool   *pgxpool.Pool // nil where no Postgres is named

	now     func() time.Time // of this machine
	between time.Duration    // how long after the first the backlog is measured again
	long    time.Duration    // how old a transaction is that is told of

	// The check redis learns these.
	away    bool // Redis cannot be reached
	servers []*redisServer

	// The check postgres learns this.
	postgres *facts // nil where it does not answer

	// The check namespace learns these.
	exists bool
	projector.Operator
	keys *keyspace.Namespace
}

func newPatient(ctx context.Context, p *program, file string) (*patient, error) {
	if file == "" {
		for _, variable := range p.environ {
			if name, found := strings.CutPrefix(variable, env(configSetting)+"="); found {
				file = name
			}
		}
	}
	client, err := p.redisClient(0)
	if err != nil {
		return nil, err
	}
	pool, err := p.postgresPool(ctx)
	if err != nil {
		client.Close()
		return nil, err
	}
	return &patient{program: p, file: file, client: client, pool: pool, now: time.Now, between: between, long: longTransaction}, nil
}

func (p *patient) close() {
	p.client.Close()
	if p.pool != nil {
		closePool(p.pool)
	}
}

// missing returns why checks with a need cannot be made, empty where they can.
func (p *patient) missing(n need) string {
	switch {
	case n == needsNothing:
	case (n == namesPostgres || n == needsPostgres) && p.pool == nil:
		return "no Postgres is named"
	case n == needsPostgres && p.postgres == nil:
		return "Postgres does not answer"
	case n == namesPostgres || n == needsPostgres:
	case len(p.servers) == 0:
		return "Redis does not answer"
	case n == needsNamespace && !p.exists:
		return "the namespace does not exist or cannot be read"
	}
	return ""
}

// atATime is how many checks are made at the same time.
const atATime = 4

// diagnose makes the checks. One that fails or takes too long becomes a finding.
func diagnose(ctx context.Context, p *patient, all []check) doctorView {
	v := doctorView{Namespace: p.Namespace, Findings: []finding{}, NotMade: []notMadeView{}}
	found := make([][]finding, len(all))
	for n := range needsCount {
		var wait sync.WaitGroup
		room := make(chan struct{}, atATime)
		for i, c := range all {
			if c.needs != n || p.missing(n) != "" {
				continue
			}
			wait.Go(func() {
				room <- struct{}{}
				defer func() { <-room }()
				found[i] = c.make(ctx, p)
			})
		}
		wait.Wait()
	}
	for i, c := range all {
		switch why := p.missing(c.needs); {
		case why != "":
			v.NotMade = append(v.NotMade, notMadeView{c.name, why})
			continue
		case len(found[i]) == 0:
			v.Passed = append(v.Passed, passedView{c.name, strings.ReplaceAll(c.looks, "`", "")})
		}
		v.Checks++
		v.Findings = append(v.Findings, found[i]...)
	}
	// Of equal severity they stay in the order of the checks.
	slices.SortStableFunc(v.Findings, func(a, b finding) int { return cmp.Compare(a.Severity.weight(), b.Severity.weight()) })
	for _, f := range v.Findings {
		switch f.Severity {
		case isError:
			v.Errors++
		case isWarning:
			v.Warnings++
		}
	}
	v.Healthy = v.Errors+v.Warnings == 0
	return v
}

// make makes a check within its time.
func (c check) make(ctx context.Context, p *patient) []finding {
	limit := p.ConnectTimeout
	if c.waits {
		limit += p.between
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	found, err := c.run(ctx, p)
	if err != nil {
		found = append(found, p.unmade(err))
	}
	for i := range found {
		found[i].Check = c.name
	}
	return found
}

// unmade is the finding that a check, or a part of it, could not be made.
func (p *patient) unmade(err error) finding {
	f := finding{Severity: isWarning, Subject: "doctor", Finding: "this could not be looked at", Evidence: p.scrubbed(err.Error())}
	var of *serverError
	if errors.As(err, &of) {
		f.Subject = of.subject
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		f.Evidence = fmt.Sprintf("no answer within %s: %s", p.ConnectTimeout, f.Evidence)
		f.Fix = "try again; where the server is under load, with a longer --connect-timeout"
	case redis.HasErrorPrefix(err, "NOPERM"):
		f.Fix = "by somebody who may: " + p.servers[0].allow(err)
	case pgerr.In(err, "42501"):
		f.Fix = "allow the user of postgres-url to look: GRANT pg_monitor TO the_user"
	default:
		f.Fix = "the evidence says what is in the way; once it is out of it, run doctor again"
	}
	return f
}

// scrubbed returns the text of an error without secrets, should a library quote one.
func (p *patient) scrubbed(text string) string {
	var s scrubber
	if s.hide(p.secrets()); s.replacer == nil {
		return text
	}
	return s.replacer.Replace(text)
}

// serverError is an error that one server of several is concerned by.
type serverError struct {
	subject string
	err     error
}

func (e *serverError) Error() string { return e.err.Error() }
func (e *serverError) Unwrap() error { return e.err }

// redisServer is what one Redis server says of itself.
type redisServer struct {
	addr   string
	client *redis.Client
	dialed string // how redis-cli is called to reach it, without the name of a user
	login  string // what redis-cli is told besides, to be let in
	user   string // empty for the default one
	info   info
	// config is what CONFIG GET tells, nil where it tells nothing, and then refused is why.
	config  map[string]string
	refused error
}

func (s *redisServer) subject() string { return "redis " + s.addr }

// cli writes a command for the server.
func (s *redisServer) cli(format string, args ...any) string {
	return s.dialed + s.login + " " + fmt.Sprintf(format, args...)
}

// cluster writes a command for all of its Redis Cluster, such as "check": what redis-cli
// shall do with the cluster that the server is of. The rest follows the address.
func (s *redisServer) cluster(do, rest string) string {
	options := s.login
	if strings.HasSuffix(s.dialed, withTLS) {
		options = withTLS + options
	}
	return strings.TrimSpace("redis-cli" + options + " --cluster " + do + " " + s.addr + " " + rest)
}

// withTLS is what redis-cli is told for a server that speaks TLS.
const withTLS = " --tls"

// forbidden finds the command in what a Redis says when it is not allowed.
var forbidden = regexp.MustCompile(`run the '([^']+)' command`)

// allow is what allows the user what the server has refused. Somebody else has to say it,
// so that it names no user to log in as.
func (s *redisServer) allow(err error) string {
	what := "+COMMAND, as the evidence says"
	if m := forbidden.FindStringSubmatch(err.Error()); m != nil {
		what = "'+" + m[1] + "'"
	} else if strings.Contains(err.Error(), "key") {
		what = "'~*', or the keys that docs/architecture.md lists"
	}
	user := cmp.Or(s.user, "USER")
	// A bar is a pipe, and a star a pattern, to a shell.
	return fmt.Sprintf("%s acl setuser '%s' %s", s.dialed, user, what)
}

// set is what gives a directive of the configuration another value, for now and for good.
func (s *redisServer) set(name, value string) string {
	return fmt.Sprintf("%s\nand in redis.conf, so that it stays: %s %s", s.cli("config set %s %s", name, value), name, value)
}

// at returns a finding about the server.
func (s *redisServer) at(how severity, found, evidence, fix string) finding {
	return finding{Severity: how, Subject: s.subject(), Finding: found, Evidence: evidence, Fix: fix}
}

// asked are the directives that doctor wants to know. Servers that do not know one leave it out.
var asked = []any{"config", "get",
	"appendfsync", "no-appendfsync-on-rewrite", "save", "stop-writes-on-bgsave-error",
	"min-replicas-to-write", "min-replicas-max-lag", "notify-keyspace-events", "stream-node-max-bytes",
	"timeout", "tcp-keepalive", "maxclients", "cluster-require-full-coverage", "tls-port",
}

// meet asks every master what it says of itself. Where some do not answer, the error
// tells of one of those.
func (p *patient) meet(ctx context.Context) (servers []*redisServer, err error) {
	var mu sync.Mutex // guards servers and err
	failed := redisx.EachMaster(ctx, p.client, func(ctx context.Context, c *redis.Client) error {
		s, lost := p.ask(ctx, c)
		mu.Lock()
		defer mu.Unlock()
		if lost != nil {
			err = &serverError{s.subject(), lost}
			return nil // the others still answer
		}
		servers = append(servers, s)
		return nil
	})
	slices.SortFunc(servers, func(a, b *redisServer) int { return cmp.Compare(a.addr, b.addr) })
	return servers, cmp.Or(err, failed)
}

// dialing is how redis-cli is told an address, empty where that is none of TCP.
func dialing(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return ""
	}
	return " -h " + host + " -p " + port
}

func (p *patient) ask(ctx context.Context, c *redis.Client) (*redisServer, error) {
	s := &redisServer{addr: c.Options().Addr, client: c, dialed: "redis-cli"}
	if to := dialing(s.addr); to != "" {
		s.dialed += to
	} else if c.Options().Network == "unix" {
		s.dialed += " -s " + s.addr
	} else {
		s.addr = redacted(p.RedisURL) // the client of a Sentinel does not say
	}
	if secure(p.RedisURL) {
		s.dialed += withTLS
	}
	if o := c.Options(); o.Password != "" {
		if s.user = o.Username; s.user != "" {
			s.login += " --user " + s.user
		}
		s.login += " --askpass"
	}
	if err := c.Ping(ctx).Err(); err != nil {
		return s, err
	}
	text, err := c.Info(ctx).Result()
	if err != nil {
		return s, err
	}
	s.info = parseInfo(text)
	reply, err := c.Do(ctx, asked...).StringSlice()
	switch {
	case err == nil:
		s.config = make(map[string]string)
		for i := 0; i+1 < len(reply); i += 2 {
			s.config[reply[i]] = reply[i+1]
		}
	case redisx.IsReply(err):
		s.refused = err
	default:
		return s, err
	}
	return s, nil
}

// each makes a check of every server out of one of one server.
func each(look func(*patient, *redisServer) []finding) func(context.Context, *patient) ([]finding, error) {
	return func(_ context.Context, p *patient) (found []finding, _ error) {
		for _, s := range p.servers {
			found = append(found, look(p, s)...)
		}
		return found, nil
	}
}
