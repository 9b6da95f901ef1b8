package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/redisx"
)

var redisChecks = []check{
	{name: "redis", needs: needsNothing, worst: isError, run: meetRedis,
		looks: "whether every Redis server answers, and lets the user in",
		fix:   "start it, mend `redis-url` or the password, open the way to it"},
	{name: "redis-version", needs: needsRedis, worst: isError, run: each(lookAtVersion),
		looks: "the version: 7.0 is the oldest that works; faults that are known of it",
		fix:   "upgrade the server"},
	{name: "config", needs: needsRedis, worst: isWarning, run: each(lookAtConfig),
		looks: "whether the server tells its configuration, which other checks ask for",
		fix:   "allow the user `CONFIG GET`, or look at the console of a managed service"},
	{name: "eviction", needs: needsRedis, worst: isError, run: each(lookAtEviction),
		looks: "`maxmemory-policy`, which has to be `noeviction`, and whether keys were evicted",
		fix:   "`config set maxmemory-policy noeviction`; `audit` after an eviction"},
	{name: "persistence", needs: needsRedis, worst: isError, run: each(lookAtPersistence),
		looks: "which profile of durability is in force (none, snapshots, dev, durable, ha), and what it survives",
		fix:   "`config set appendonly yes`; `appendfsync always`; replicas"},
	{name: "persistence-errors", needs: needsRedis, worst: isError, run: each(lookAtSaving),
		looks: "whether the last writes to the append-only file, its last rewrite and the last snapshot failed",
		fix:   "make room on the disk, then `bgrewriteaof` or `bgsave`"},
	{name: "replication", needs: needsRedis, worst: isError, run: each(lookAtReplication),
		looks: "whether the server is a master, has the replicas that `replicas` and `min-replicas-to-write` ask for, and how far those are behind",
		fix:   "connect to the master; bring the replicas back"},
	{name: "cluster", needs: needsRedis, worst: isError, run: lookAtCluster,
		looks: "of a Redis Cluster: its state, slots that nobody serves, nodes that fail, masters without a replica, `cluster-require-full-coverage`, and whether there are partitions for all masters",
		fix:   "bring the nodes back; without its data what was in the slots of a node is lost, and `redis-cli --cluster fix` has others serve them, empty"},
	{name: "clients", needs: needsRedis, worst: isWarning, run: each(lookAtClients),
		looks: "connections near `maxclients`, and whether any were turned away",
		fix:   "raise `maxclients`, or run fewer clients"},
	{name: "idle-connections", needs: needsRedis, worst: isWarning, run: each(lookAtTimeouts),
		looks: "`timeout` and `tcp-keepalive`, by which idle connections are cut or dead ones kept",
		fix:   "`config set timeout 0`, `config set tcp-keepalive 300`"},
	{name: "slow-commands", needs: needsRedis, worst: isWarning, run: lookAtSlowLog,
		looks: "the newest entries of the slow log, and how long the last fork took: what kept Redis from answering",
		fix:   "stop who sends such commands"},
	{name: "notifications", needs: needsRedis, worst: isInfo, run: each(lookAtNotifications),
		looks: "`notify-keyspace-events`, which nothing here needs",
		fix:   "none is needed"},
	{name: "clock", needs: needsRedis, worst: isWarning, run: lookAtRedisClocks,
		looks: "how far the clocks of this machine and of Redis are apart",
		fix:   "have both set by NTP"},
}

// meetRedis is the check that all others on Redis come after.
func meetRedis(ctx context.Context, p *patient) ([]finding, error) {
	servers, err := p.meet(ctx)
	p.servers = servers
	var found []finding
	for _, s := range servers {
		if s.info["loading"] == "1" {
			found = append(found, loading(s.subject(), s.info.seen("loading", "loading_loaded_perc")))
		}
	}
	if err == nil {
		return found, nil
	}
	p.away = len(servers) == 0 && !redisx.IsReply(err)
	return append(found, p.unmet(err)), nil
}

func loading(subject, evidence string) finding {
	return finding{Severity: isError, Subject: subject, Finding: "Redis is reading its data from the disk and serves nobody meanwhile", Evidence: evidence,
		Fix: "wait for it; its log says how far it is"}
}

// unmet is the finding that a Redis does not answer as it should.
func (p *patient) unmet(err error) finding {
	f := finding{Severity: isError, Subject: redacted(p.RedisURL), Finding: "Redis cannot be reached", Evidence: p.scrubbed(err.Error())}
	var of *serverError
	if errors.As(err, &of) && len(p.servers) > 0 {
		f.Subject = of.subject
	}
	setting := p.where("redis-url")
	switch text := err.Error(); {
	case redis.HasErrorPrefix(err, "LOADING"):
		return loading(f.Subject, f.Evidence)
	case redis.HasErrorPrefix(err, "WRONGPASS"), redis.HasErrorPrefix(err, "NOAUTH"), strings.Contains(text, "AUTH"):
		f.Finding = "Redis does not let this user in"
		f.Fix = fmt.Sprintf("check the user in %s or %s, and the password in the file of %s; redis-cli acl getuser NAME on the server shows whether the user is on", setting, env("redis-username"), env("redis-password")+"_FILE")
	case strings.Contains(text, "cluster support disabled"):
		f.Finding = "this is a single Redis, and is spoken to as a cluster"
		f.Fix = "begin redis-url with redis:// or rediss://, without +cluster"
	case strings.Contains(text, "tls: ") || strings.Contains(text, "x509: "):
		f.Finding = "Redis and this program do not come to terms about TLS"
		f.Fix = "begin redis-url with rediss:// where the server speaks TLS and only there; name the certificate of its authority by redis-ca-file"
	case redisx.IsReply(err):
		f.Finding = "Redis answers with an error to what doctor begins with, PING and INFO"
		f.Fix = "allow the user these: redis-cli acl setuser USER +ping +info, by somebody who may"
	default:
		if errors.Is(err, context.DeadlineExceeded) {
			f.Evidence = fmt.Sprintf("no answer within %s: %s", p.ConnectTimeout, f.Evidence)
		}
		f.Fix = fmt.Sprintf("see whether the server runs and listens on that address: redis-cli ping there, systemctl status redis-server, the directives bind and port;\nsee whether the address in %s is right, and a firewall lets this machine through", setting)
	}
	return f
}

// oldestRedis is the oldest version that everything works on.
var oldestRedis = versionNumber{7, 0, 0}

// luaFault is CVE-2025-49844, by which whoever may run scripts can run code on the server:
// the releases that mended it, by their lines. Lines that are not here either never had
// it or were never mended.
var luaFault = map[string]map[[2]int]int{
	"redis":  {{6, 2}: 20, {7, 2}: 11, {7, 4}: 6, {8, 0}: 4, {8, 2}: 2},
	"valkey": {{7, 2}: 11, {8, 0}: 6, {8, 1}: 4},
}

func lookAtVersion(p *patient, s *redisServer) (found []finding) {
	kind, text := "redis", s.info["redis_version"]
	if s.info["valkey_version"] != "" {
		kind, text = "valkey", s.info["valkey_version"]
	}
	v, ok := parseVersion(text)
	switch {
	case !ok:
		return []finding{s.at(isInfo, "the server does not tell its version, as the embedded one does not", "redis_version = "+known(text), "in production run a Redis, 7.0 or newer")}
	case kind == "redis" && v[0] < oldestRedis[0]:
		return []finding{s.at(isError, "this version is too old: 7.0 or newer is needed", "redis_version = "+text, "upgrade to Redis 7.2 or newer, or Valkey; on Debian 12 apt install redis-server gives 7.0")}
	case kind == "redis" && v[0] == 7 && v[1] == 0:
		return []finding{unknownPackage(p, s, text, v)}
	}
	line := [2]int{v[0], v[1]}
	if mended, has := luaFault[kind][line]; has && v[2] < mended {
		found = append(found, s.at(isWarning, "whoever may run scripts can run code of his own on the server (CVE-2025-49844)", kind+"_version = "+text,
			fmt.Sprintf("upgrade to %d.%d.%d or newer; distributions mend it in packages of the older version, which INFO does not show", line[0], line[1], mended)))
	}
	return found
}

// unknownPackage is about the 7.0 line, which only distributions still mend.
func unknownPackage(p *patient, s *redisServer, text string, v versionNumber) finding {
	f := s.at(isInfo, "the last faults of 7.0 are mended in packages of distributions only, and which package this is INFO does not tell", "redis_version = "+text,
		"on the server: dpkg -s redis-server | grep Version; Debian 12 has them mended from 5:7.0.15-1~deb12u10 on: apt install --only-upgrade redis-server")
	if tls := s.config["tls-port"]; secure(p.RedisURL) || tls != "" && tls != "0" {
		f.Severity, f.Finding = isWarning, "7.0 has a fault that whoever reaches its TLS port can use without a password; which package this is, and so whether it is mended, INFO does not tell"
	}
	if v[2] < 15 {
		f.Severity, f.Finding = isWarning, "7.0.15 is the last of this line; earlier ones have faults that were mended there"
	}
	return f
}

func lookAtConfig(_ *patient, s *redisServer) []finding {
	if s.config != nil {
		return nil
	}
	how, fix := isWarning, "by somebody who may: "+s.allow(s.refused)
	switch {
	case s.info["redis_version"] == "":
		how, fix = isInfo, "an embedded one has none"
	case !redis.HasErrorPrefix(s.refused, "NOPERM"):
		fix = "rename-command in redis.conf hides it, or a managed service does: look there"
	}
	return []finding{s.at(how, "CONFIG GET is refused; what INFO does not tell is not known: appendfsync, save, min-replicas-to-write, stream-node-max-bytes, timeout, tcp-keepalive, notify-keyspace-events",
		clip(s.refused.Error(), 100), fix+"\nor compare these with docs/reference/doctor.md in the console of the service")}
}

func lookAtEviction(p *patient, s *redisServer) (found []finding) {
	if policy := s.info["maxmemory_policy"]; policy != "" && policy != "noeviction" {
		found = append(found, s.at(isError, "when memory runs out Redis deletes streams, without an error to anybody", "maxmemory-policy = "+policy, s.set("maxmemory-policy", "noeviction")))
	}
	if n := s.info.number("evicted_keys"); n > 0 {
		found = append(found, s.at(isError, "keys were evicted since the server started: events that were acknowledged may be gone", fmt.Sprintf("evicted_keys = %d", n),
			p.call("audit --deep")+" finds the streams concerned, as far as they were projected; a backup has the events"))
	}
	return found
}

// durability is a profile of durability.
type durability struct{ name, survives string }

var (
	profileNone      = durability{"none", "nothing survives the end of the process"}
	profileSnapshots = durability{"snapshots", "what was appended after the last snapshot is lost when the process or the machine ends"}
	profileUnsynced  = durability{"unsynced", "a crash of the process is survived; of a crash of the machine half a minute may be lost"}
	profileDev       = durability{"dev", "a crash of the process is survived; of a crash of the machine up to a second is lost"}
	profileDurable   = durability{"durable", "a crash of the machine is survived, as far as its disk keeps its word; the loss of the disk is not"}
	profileHA        = durability{"ha", "a failover to a replica that has confirmed is survived"}
	profileUnknown   = durability{"unknown", "how often the append-only file reaches the disk is not known"}
)

// profileOf returns the profile in force. Appends wait for so many replicas.
func profileOf(s *redisServer, replicas int) durability {
	switch {
	case s.info["aof_enabled"] == "0" && s.config != nil && s.config["save"] == "":
		return profileNone
	case s.info["aof_enabled"] == "0":
		return profileSnapshots
	case replicas > 0 && s.info.number("connected_slaves") >= int64(replicas) && number64(s.config["min-replicas-to-write"]) > 0:
		return profileHA
	}
	switch s.config["appendfsync"] {
	case "always":
		return profileDurable
	case "everysec":
		return profileDev
	case "no":
		return profileUnsynced
	}
	return profileUnknown
}

func number64(text string) int64 { return info{"": text}.number("") }

func lookAtPersistence(p *patient, s *redisServer) (found []finding) {
	if s.info["aof_enabled"] == "" {
		return []finding{s.at(isInfo, "the server does not tell whether it persists anything", s.info.seen("aof_enabled"), "an embedded one persists nothing: it is for trying things out")}
	}
	in := profileOf(s, p.Replicas)
	how, fix := isInfo, "for more: "+s.set("appendfsync", "always")+"\nfor a failover without loss: replicas, min-replicas-to-write and the setting replicas"
	switch in {
	case profileNone:
		how, fix = isError, s.set("appendonly", "yes")
	case profileSnapshots:
		how, fix = isWarning, s.set("appendonly", "yes")
	case profileUnsynced:
		how, fix = isWarning, s.set("appendfsync", "everysec")
	case profileDurable:
		fix = "for a failover without loss: replicas, min-replicas-to-write and the setting replicas"
	case profileHA:
		fix = ""
	case profileUnknown:
		fix = "see the check config"
	}
	evidence := s.info.seen("aof_enabled", "connected_slaves") + fmt.Sprintf(", replicas = %d", p.Replicas)
	if s.config != nil {
		evidence += ", " + info(s.config).seen("appendfsync", "save", "min-replicas-to-write")
	} else if in == profileSnapshots {
		evidence += ", " + s.info.seen("rdb_last_save_time") + ", save is not known"
	}
	found = append(found, s.at(how, fmt.Sprintf("profile %s is in force: %s", in.name, in.survives), evidence, fix))
	if s.config["no-appendfsync-on-rewrite"] == "yes" && in == profileDurable {
		found = append(found, s.at(isWarning, "while the append-only file is rewritten nothing reaches the disk for sure", "no-appendfsync-on-rewrite = yes", s.set("no-appendfsync-on-rewrite", "no")))
	}
	if n := number64(s.config["min-replicas-to-write"]); n > 0 && p.Replicas == 0 {
		found = append(found, s.at(isInfo, "appends do not wait for a replica, so that a failover can lose some that were acknowledged", fmt.Sprintf("min-replicas-to-write = %d, replicas = 0", n),
			fmt.Sprintf("where events are appended and in run: %s=%d", env("replicas"), n)))
	}
	return found
}

// staleSave is how old a snapshot is that is told of, where there is nothing else.
const staleSave = 24 * time.Hour

func lookAtSaving(p *patient, s *redisServer) (found []finding) {
	if s.info["aof_enabled"] == "1" && known(s.info["aof_last_write_status"]) == "err" {
		found = append(found, s.at(isError, "Redis could not write to its append-only file, and refuses to be written to", s.info.seen("aof_last_write_status"),
			"make room on the disk of the server: df -h there, in the directory that "+s.cli("config get dir")+" says; Redis goes on by itself"))
	}
	if s.info["aof_last_bgrewrite_status"] == "err" {
		found = append(found, s.at(isWarning, "the append-only file could not be rewritten and grows", s.info.seen("aof_last_bgrewrite_status", "aof_current_size"),
			"see the log of Redis for why: most often the disk is full, or a fork lacks memory (sysctl vm.overcommit_memory=1); then "+s.cli("bgrewriteaof")))
	}
	if s.info["rdb_last_bgsave_status"] == "err" {
		how, says := isWarning, "the last snapshot could not be written"
		if s.config == nil || s.config["save"] != "" && s.config["stop-writes-on-bgsave-error"] != "no" {
			how, says = isError, "the last snapshot could not be written, for which Redis refuses to be written to (MISCONF)"
		}
		found = append(found, s.at(how, says, s.info.seen("rdb_last_bgsave_status", "rdb_changes_since_last_save"),
			"see the log of Redis for why: most often the disk is full, or a fork lacks memory (sysctl vm.overcommit_memory=1); then "+s.cli("bgsave")))
	}
	if last := s.info.number("rdb_last_save_time"); s.info["aof_enabled"] == "0" && s.config["save"] != "" && last > 0 && s.info.number("rdb_changes_since_last_save") > 0 {
		if age := p.now().Sub(time.Unix(last, 0)); age > staleSave {
			found = append(found, s.at(isWarning, "the last snapshot is "+ago(age)+" old, and nothing else is on the disk", s.info.seen("rdb_last_save_time", "rdb_changes_since_last_save"), s.cli("bgsave")))
		}
	}
	return found
}

const (
	// replicaLate and replicaBehind are how late and how many bytes behind a replica is
	// that is told of.
	replicaLate   = 10 // seconds
	replicaBehind = 16 << 20
)

func lookAtReplication(p *patient, s *redisServer) (found []finding) {
	if s.info["role"] == "slave" {
		found = append(found, s.at(isError, "this is a replica, which cannot be written to", s.info.seen("role", "master_host", "master_port", "master_link_status"),
			fmt.Sprintf("name the master in %s: %s:%s, or a Sentinel by redis+sentinel://", p.where("redis-url"), s.info["master_host"], s.info["master_port"])))
		return found
	}
	connected := s.info.number("connected_slaves")
	if connected < int64(p.Replicas) {
		found = append(found, s.at(isError, "appends wait for more replicas than there are, and fail", fmt.Sprintf("connected_slaves = %d, replicas = %d", connected, p.Replicas),
			fmt.Sprintf("bring the replicas back (%s on each), or set replicas to %d", "redis-cli info replication", connected)))
	}
	good := connected
	for i := range connected {
		replica := s.info.parts(fmt.Sprintf("slave%d", i))
		behind := s.info.number("master_repl_offset") - replica.number("offset")
		name := replica["ip"] + ":" + replica["port"]
		switch {
		case replica["state"] != "online":
			good--
			found = append(found, s.at(isWarning, "replica "+name+" is not up to date yet", replica.seen("state", "offset"), "see its log; where it begins anew again and again, raise repl-backlog-size and client-output-buffer-limit of replicas"))
		case replica.number("lag") > replicaLate || behind > replicaBehind:
			found = append(found, s.at(isWarning, "replica "+name+" is behind: a failover to it loses events, unless appends wait for it",
				fmt.Sprintf("%s, %s behind", replica.seen("lag"), bytesText(behind)), "see what holds it up: its network, its disk, slow commands there"))
		}
	}
	if least := number64(s.config["min-replicas-to-write"]); least > good {
		found = append(found, s.at(isError, "Redis refuses to be written to, for lack of replicas (NOREPLICAS)", fmt.Sprintf("min-replicas-to-write = %d, good replicas = %d", least, good),
			"bring the replicas back; in an emergency "+s.cli("config set min-replicas-to-write 0")))
	}
	return found
}

// nearly is the share of a limit, in percent, from which on it is told of.
const nearly = 80

func lookAtClients(_ *patient, s *redisServer) (found []finding) {
	most := s.info.number("maxclients")
	if most == 0 {
		most = number64(s.config["maxclients"])
	}
	raise := fmt.Sprintf("see who has them: %s; or %s", s.cli("client list"), s.set("maxclients", fmt.Sprint(2*most)))
	if n := s.info.number("connected_clients"); most > 0 && n*100 >= most*nearly {
		found = append(found, s.at(isWarning, "there is hardly room for more connections", fmt.Sprintf("connected_clients = %d of maxclients = %d (%s)", n, most, percent(n, most)), raise))
	}
	if n := s.info.number("rejected_connections"); n > 0 {
		found = append(found, s.at(isWarning, "connections were turned away since the server started", fmt.Sprintf("rejected_connections = %d, maxclients = %d", n, most), raise))
	}
	return found
}

// shortTimeout is the timeout of idle connections, in seconds, that is told of.
const shortTimeout = 60

func lookAtTimeouts(_ *patient, s *redisServer) (found []finding) {
	if n := number64(s.config["timeout"]); n > 0 && n < shortTimeout {
		found = append(found, s.at(isWarning, "Redis cuts connections that are idle for a moment, and the next command on one fails", fmt.Sprintf("timeout = %d", n), s.set("timeout", "0")))
	}
	if s.config["tcp-keepalive"] == "0" {
		found = append(found, s.at(isWarning, "connections of machines that are gone stay, and firewalls forget those that wait", "tcp-keepalive = 0", s.set("tcp-keepalive", "300")))
	}
	return found
}

const (
	// slowEntries is how much of the slow log is looked at, slowSince how old it may be,
	// and tooSlow how long a command kept all others from being served that is told of.
	slowEntries = 32
	slowSince   = 10 * time.Minute
	tooSlow     = 500 * time.Millisecond
)

func lookAtSlowLog(ctx context.Context, p *patient) (found []finding, _ error) {
	for _, s := range p.servers {
		entries, err := s.client.SlowLogGet(ctx, slowEntries).Result()
		if err != nil {
			if !redisx.IsReply(err) {
				return found, &serverError{s.subject(), err}
			}
			found = append(found, s.at(isInfo, "the slow log cannot be read", clip(err.Error(), 100), "where the server has one: "+s.allow(err)))
		}
		found = append(found, slowFindings(s, entries, p.now())...)
	}
	return found, nil
}

// slowFindings names commands and no more of them: arguments are data.
func slowFindings(s *redisServer, entries []redis.SlowLog, now time.Time) (found []finding) {
	var worst redis.SlowLog
	n := 0
	for _, e := range entries {
		if e.Duration < tooSlow || now.Sub(e.Time) > slowSince || len(e.Args) == 0 {
			continue
		}
		if n++; e.Duration > worst.Duration {
			worst = e
		}
	}
	if n > 0 {
		found = append(found, s.at(isWarning, "Redis was blocked: nobody was served while one command ran",
			fmt.Sprintf("%s in the last %s, the longest %s for %s", many(n, "command"), slowSince, strings.ToUpper(worst.Args[0]), worst.Duration.Round(time.Millisecond)),
			s.cli("slowlog get %d", slowEntries)+" shows who sent them; KEYS and the like have no place on this server"))
	}
	if fork := time.Duration(s.info.number("latest_fork_usec")) * time.Microsecond; fork > tooSlow {
		found = append(found, s.at(isWarning, "saving blocks Redis: the fork takes long", "latest_fork_usec = "+s.info["latest_fork_usec"],
			"switch off transparent huge pages on the server: echo never > /sys/kernel/mm/transparent_hugepage/enabled; or spread the data over a cluster"))
	}
	return found
}

func lookAtNotifications(_ *patient, s *redisServer) []finding {
	if events := s.config["notify-keyspace-events"]; events != "" {
		return []finding{s.at(isInfo, "keyspace notifications are on; projectord needs none, a dead worker is found by its deadline, and they cost Redis a little for every command", "notify-keyspace-events = "+events,
			"where nobody else listens: "+s.cli(`config set notify-keyspace-events ""`))}
	}
	return nil
}

const (
	// clockApart is how far clocks are apart that is told of.
	clockApart = time.Second
	clockTries = 3
)

// clockOffset asks for the time of a server and returns how far it is ahead of this
// machine's, and by how much that can be wrong.
func (p *patient) clockOffset(ask func() (time.Time, error)) (ahead, within time.Duration, err error) {
	for range clockTries {
		before := p.now()
		there, err := ask()
		if err != nil {
			return 0, 0, err
		}
		after := p.now()
		if half := after.Sub(before) / 2; within == 0 || half < within {
			ahead, within = there.Sub(before.Add(half)), half
		}
	}
	return ahead, within, nil
}

// clockFindings says that a clock is off by more than can be explained.
func clockFindings(subject string, ahead, within time.Duration) []finding {
	if ahead.Abs()-within < clockApart {
		return nil
	}
	word := "ahead of"
	if ahead < 0 {
		word = "behind"
	}
	return []finding{{Severity: isWarning, Subject: subject,
		Finding:  "its clock and that of this machine are apart: ages that are shown are wrong, and retention by age removes too early or too late. What takes effect does not rest on clocks",
		Evidence: fmt.Sprintf("it is %s %s this machine, give or take %s", ahead.Abs().Round(time.Millisecond), word, within.Round(time.Millisecond)),
		Fix:      "have both set by NTP: timedatectl set-ntp true, then timedatectl timesync-status or chronyc tracking"}}
}

func lookAtRedisClocks(ctx context.Context, p *patient) (found []finding, _ error) {
	for _, s := range p.servers {
		ahead, within, err := p.clockOffset(func() (time.Time, error) { return s.client.Time(ctx).Result() })
		if err != nil {
			return found, &serverError{s.subject(), err}
		}
		found = append(found, clockFindings(s.subject(), ahead, within)...)
	}
	return found, nil
}
