package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/redisx"
	"github.com/projectord/projectord/migrations"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
)

// odd returns a patient in no state to be asked anything, on the first day of 2026.
func odd() *patient {
	s := settings{Namespace: "shop", RedisURL: "redis://127.0.0.1:6379", ConnectTimeout: time.Second}
	return &patient{
		program: &program{app: App{Name: "shop"}, config: &config{settings: s, from: make(map[string]string)}},
		now:     func() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }, between: time.Second, long: longTransaction,
	}
}

// saying returns a server that says so in INFO, as name:value words, and has a configuration.
func saying(config map[string]string, words string) *redisServer {
	return &redisServer{addr: "h:1", dialed: "redis-cli -h h -p 1", info: parseInfo(strings.ReplaceAll(words, " ", "\r\n")), config: config, refused: errors.New("NOPERM")}
}

// What no server can be made to say at will is judged as well: severities, in order, and
// what the findings say, one after another.
func TestDoctorJudges(t *testing.T) {
	t.Parallel()
	p := odd()
	tls := odd()
	tls.RedisURL = "rediss://h"
	two := odd()
	two.Replicas = 2
	some := map[string]string{"save": "", "appendfsync": "everysec"}
	for name, c := range map[string]struct {
		found []finding
		want  string // severity and part of evidence of each, with | between
	}{
		"VersionTooOld":     {lookAtVersion(p, saying(some, "redis_version:6.2.14")), "error redis_version = 6.2.14"},
		"VersionNoPackage":  {lookAtVersion(p, saying(some, "redis_version:7.0.15")), "info redis_version = 7.0.15"},
		"VersionTLS":        {lookAtVersion(tls, saying(some, "redis_version:7.0.15")), "warning redis_version = 7.0.15"},
		"VersionTLSPort":    {lookAtVersion(p, saying(map[string]string{"tls-port": "6380"}, "redis_version:7.0.15")), "warning redis_version = 7.0.15"},
		"VersionNotTheLast": {lookAtVersion(p, saying(some, "redis_version:7.0.4")), "warning redis_version = 7.0.4"},
		"VersionFault":      {lookAtVersion(p, saying(some, "redis_version:7.2.10")), "warning redis_version = 7.2.10"},
		"VersionMended":     {lookAtVersion(p, saying(some, "redis_version:7.2.11")), ""},
		"VersionNew":        {lookAtVersion(p, saying(some, "redis_version:8.6.3")), ""},
		"VersionValkey":     {lookAtVersion(p, saying(some, "redis_version:7.2.4 server_name:valkey valkey_version:8.1.3")), "warning valkey_version = 8.1.3"},
		"VersionValkeyNew":  {lookAtVersion(p, saying(some, "redis_version:7.2.4 server_name:valkey valkey_version:8.1.4")), ""},
		"VersionUnknown":    {lookAtVersion(p, saying(some, "")), "info redis_version = (empty)"},

		"DurabilityDev":      {lookAtPersistence(p, saying(some, "aof_enabled:1")), "info appendfsync = everysec"},
		"DurabilityDurable":  {lookAtPersistence(p, saying(map[string]string{"appendfsync": "always"}, "aof_enabled:1")), "info appendfsync = always"},
		"DurabilityRewrite":  {lookAtPersistence(p, saying(map[string]string{"appendfsync": "always", "no-appendfsync-on-rewrite": "yes"}, "aof_enabled:1")), "info appendfsync = always|warning no-appendfsync-on-rewrite = yes"},
		"DurabilityHA":       {lookAtPersistence(two, saying(map[string]string{"appendfsync": "everysec", "min-replicas-to-write": "1"}, "aof_enabled:1 connected_slaves:2")), "info replicas = 2"},
		"DurabilityHalfHA":   {lookAtPersistence(p, saying(map[string]string{"appendfsync": "everysec", "min-replicas-to-write": "1"}, "aof_enabled:1 connected_slaves:2")), "info replicas = 0|info min-replicas-to-write = 1, replicas = 0"},
		"DurabilityUnknown":  {lookAtPersistence(p, saying(nil, "aof_enabled:1")), "info aof_enabled = 1"},
		"DurabilityHidden":   {lookAtPersistence(p, saying(nil, "aof_enabled:0 rdb_last_save_time:7")), "warning save is not known"},
		"DurabilityEmbedded": {lookAtPersistence(p, saying(nil, "")), "info aof_enabled = (empty)"},

		"SavingWell":       {lookAtSaving(p, saying(some, "aof_enabled:1 aof_last_write_status:ok aof_last_bgrewrite_status:ok rdb_last_bgsave_status:ok")), ""},
		"SavingDiskFull":   {lookAtSaving(p, saying(some, "aof_enabled:1 aof_last_write_status:err")), "error aof_last_write_status = err"},
		"SavingNoRewrite":  {lookAtSaving(p, saying(some, "aof_enabled:1 aof_last_write_status:ok aof_last_bgrewrite_status:err")), "warning aof_last_bgrewrite_status = err"},
		"SavingNoSnapshot": {lookAtSaving(p, saying(map[string]string{"save": "60 1", "stop-writes-on-bgsave-error": "yes"}, "aof_enabled:1 rdb_last_bgsave_status:err")), "error rdb_last_bgsave_status = err"},
		"SavingHarmless":   {lookAtSaving(p, saying(some, "aof_enabled:1 rdb_last_bgsave_status:err")), "warning rdb_last_bgsave_status = err"},
		"SavingStale": {lookAtSaving(p, saying(map[string]string{"save": "60 1"}, fmt.Sprintf("aof_enabled:0 rdb_changes_since_last_save:3 rdb_last_save_time:%d", p.now().Add(-48*time.Hour).Unix()))),
			"warning rdb_changes_since_last_save = 3"},

		"ReplicasWell":      {lookAtReplication(two, saying(some, "role:master connected_slaves:2 master_repl_offset:100 slave0:ip=a,port=1,state=online,offset=100,lag=0 slave1:ip=b,port=1,state=online,offset=90,lag=1")), ""},
		"ReplicasLate":      {lookAtReplication(p, saying(some, "role:master connected_slaves:1 master_repl_offset:100 slave0:ip=a,port=1,state=online,offset=100,lag=11")), "warning lag = 11"},
		"ReplicasBehind":    {lookAtReplication(p, saying(some, "role:master connected_slaves:1 master_repl_offset:33554432 slave0:ip=a,port=1,state=online,offset=0,lag=0")), "warning 32.0 MiB behind"},
		"ReplicasSyncing":   {lookAtReplication(p, saying(map[string]string{"min-replicas-to-write": "1"}, "role:master connected_slaves:1 slave0:ip=a,port=1,state=wait_bgsave,offset=0,lag=0")), "warning state = wait_bgsave|error good replicas = 0"},
		"ClientsNearly":     {lookAtClients(p, saying(some, "maxclients:100 connected_clients:80")), "warning 80 of maxclients = 100 (80 %)"},
		"ClientsTurnedAway": {lookAtClients(p, saying(some, "maxclients:100 connected_clients:8 rejected_connections:3")), "warning rejected_connections = 3"},

		"MemoryOfMachine":  {lookAtMemory(p, saying(some, "used_memory:80 maxmemory:0 total_system_memory:100")), "warning total_system_memory = 100 B (80 %)"},
		"MemoryUnlimited":  {lookAtMemory(p, saying(some, "used_memory:10 maxmemory:0 total_system_memory:100")), ""},
		"MemoryRefuses":    {lookAtMemory(p, saying(some, "used_memory:95 maxmemory:100 errorstat_OOM:count=7")), "error errorstat_OOM = 7|warning errorstat_OOM = 7"},
		"MemoryRefused":    {lookAtMemory(p, saying(some, "used_memory:50 maxmemory:100 errorstat_OOM:count=7")), "warning errorstat_OOM = 7"},
		"MemoryRoom":       {lookAtMemory(p, saying(some, "used_memory:84 maxmemory:100")), ""},
		"MemoryFragmented": {lookAtMemory(p, saying(some, "used_memory:1073741824 used_memory_rss:2147483648 mem_fragmentation_ratio:2.00")), "warning mem_fragmentation_ratio = 2.00"},

		"StreamsLong":     {sampleFindings(saying(map[string]string{"stream-node-max-bytes": "4096"}, ""), sample{4, 4000, 1 << 20, 100}), "info 256.0 KiB and 1000.0 events each"},
		"StreamsMiddling": {sampleFindings(saying(map[string]string{"stream-node-max-bytes": "4096"}, ""), sample{4, 800, 1 << 20, 100}), ""},
		"StreamsWell":     {sampleFindings(saying(map[string]string{"stream-node-max-bytes": "1024"}, ""), sample{4, 40, 1 << 14, 100}), ""},
		"StreamsNotKnown": {sampleFindings(saying(nil, ""), sample{4, 40, 1 << 14, 1000}), "info 4 streams of 1,000 sampled: 4.0 KiB and 10.0 events each, about 3.9 MiB for all"},

		"SlowForks": {slowFindings(saying(some, "latest_fork_usec:900000"), nil, p.now()), "warning latest_fork_usec = 900000"},
		"SlowCommands": {slowFindings(saying(some, ""), []redis.SlowLog{
			{Time: p.now().Add(-time.Minute), Duration: 2 * time.Second, Args: []string{"keys", "secret*"}},
			{Time: p.now().Add(-time.Minute), Duration: time.Second, Args: []string{"evalsha"}},
			{Time: p.now().Add(-time.Minute), Duration: time.Millisecond, Args: []string{"get"}},
			{Time: p.now().Add(-time.Hour), Duration: time.Minute, Args: []string{"flushall"}},
		}, p.now()), "warning 2 commands in the last 10m0s, the longest KEYS for 2s"},

		"ClusterWell": {clusterFindings(saying(some, ""), info{"cluster_state": "ok", "cluster_slots_ok": "16384"}, "a h:1@2 myself,master - 0 0 1 connected\nb h:2@3 slave,nofailover a 0 0 1 connected\n"), ""},
		"ClusterDown": {clusterFindings(saying(map[string]string{"cluster-require-full-coverage": "no"}, ""), info{"cluster_state": "fail", "cluster_slots_assigned": "16384", "cluster_slots_ok": "10923"},
			"a h:1@2 myself,master - 0 0 1 connected\nb h:2@3 master,fail - 0 0 1 disconnected 10923-16383\nc h:3@4 slave,fail? a 0 0 1 connected\n"),
			"error slots that nobody serves = 5461|error flags = master,fail, slots = 10923-16383|error flags = slave,fail?, slots = (empty)|info cluster-require-full-coverage = no"},

		"PostgresTooOld":  {versionFindings(p, &facts{version: 100023, versionText: "10.23"}), "error server_version = 10.23"},
		"PostgresOutworn": {versionFindings(p, &facts{version: 130023, versionText: "13.23"}), "warning server_version = 13.23"},
		"PostgresWell":    {versionFindings(p, &facts{version: 150018, versionText: "15.18"}), ""},
		"PostgresStandby": {writableFindings(p, &facts{standby: true}), "error pg_is_in_recovery() = true"},
		"PostgresTorn":    {durabilityFindings(p, &facts{fsync: "on", fullPageWrites: "off", synchronousCommit: "on"}), "warning full_page_writes = off"},
		"PostgresCrowded": {connectionFindings(p, &facts{connections: 80, maxConnections: 103, keptForSupers: 3}), "warning 80 of max_connections = 103"},
		"PostgresForbids": {migrationFindings(p, &facts{user: "ann"}, []migrations.Migration{{Version: 1, File: "a.sql"}}, 0), "error user = ann, missing: a.sql"},
		"TableUsed":       {p.fillfactorFindings(tableState{name: "carts_1", fillfactor: "90", updates: 1000, hot: 20}), "warning fillfactor = 90, 2 % of 1,000 updates"},
		"TableWell":       {append(p.fillfactorFindings(tableState{fillfactor: "70"}), p.bloatFindings(tableState{live: 100_000, dead: 20_000, autovacuum: "true"})...), ""},

		"GenerationFailed":   {p.generationFindings(generations.Record{Projection: "carts", Generation: 2, State: generations.Failed, Reason: "poison"}, 1), "error state = failed"},
		"GenerationRetiring": {p.generationFindings(generations.Record{Projection: "carts", Generation: 1, State: generations.Retiring, Changed: p.now().Add(-2 * time.Hour)}, 2), "warning state = retiring"},
		"GenerationWaits":    {p.generationFindings(generations.Record{Projection: "carts", Generation: 2, State: generations.Built}, 1), "info state = built"},
		"GenerationLeft":     {p.generationFindings(generations.Record{Projection: "carts", Generation: 1, State: generations.Built, Left: p.now().Add(-time.Hour)}, 2), "info state = built"},
		"GenerationLeftLong": {p.generationFindings(generations.Record{Projection: "carts", Generation: 1, State: generations.Built, Left: p.now().Add(-72 * time.Hour)}, 2), "warning state = built"},
		"GenerationSeen":     {p.generationFindings(generations.Record{Projection: "carts", Generation: 1, State: generations.Built}, 1), ""},

		"ParkedByReason": {p.parkedFindings(generations.Record{Projection: "carts", Generation: 1}, true, 2000, []lease.ParkedStream{
			{Stream: "cart-1", Parking: lease.Parking{Version: 3, Error: "cart-1@3: no such item"}},
			{Stream: "cart-2", Parking: lease.Parking{Version: 9, Error: "unknown type", Outdated: "code"}},
			{Stream: "cart-3", Parking: lease.Parking{Version: 12, Error: "cart-3@12: no such item"}},
		}), "error 3 of 2,000 parked streams were looked at; cart-1 at version 3|warning cart-2 at version 9"},
		"ParkedUnseen": {p.parkedFindings(generations.Record{Projection: "carts", Generation: 1}, false, 1, []lease.ParkedStream{{Stream: "cart-1"}}), "warning cart-1 at version 0"},

		"UnmadeLate":       {[]finding{p.unmade(fmt.Errorf("XINFO: %w", context.DeadlineExceeded))}, "warning no answer within 1s"},
		"UnmetLoading":     {[]finding{p.unmet(redisx.ReplyError("LOADING Redis is loading the dataset in memory"))}, "error LOADING"},
		"UnmetForbidden":   {[]finding{p.unmet(redisx.ReplyError("NOPERM this user has no permissions to run the 'ping' command"))}, "error NOPERM"},
		"UnmetCertificate": {[]finding{p.unmet(errors.New("tls: failed to verify certificate: x509: certificate signed by unknown authority"))}, "error x509"},
	} {
		t.Run(name, func(t *testing.T) {
			var want []string
			if c.want != "" {
				want = strings.Split(c.want, "|")
			}
			if len(c.found) != len(want) {
				t.Fatalf("want %q:\n%+v", want, c.found)
			}
			for i, f := range c.found {
				how, evidence, _ := strings.Cut(want[i], " ")
				if string(f.Severity) != how || !strings.Contains(f.Evidence, evidence) || f.Subject == "" || f.Finding == "" {
					t.Errorf("want %q: %+v", want[i], f)
				}
				if f.Fix == "" && f.Severity != isInfo {
					t.Errorf("it does not say what to do: %+v", f)
				}
			}
		})
	}
}
