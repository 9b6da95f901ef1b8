package lease

import (
	"flag"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/projectord/projectord/internal/testenv"
)

// stepsEnv names the variable with the number of steps TestProtocol makes.
const stepsEnv = "PROJECTORD_LEASE_STEPS"

const (
	defaultSteps = 6000
	stepsPerRun  = 100
)

// TestProtocol runs the scripts in random orders of everything that can happen.
// Rapid finds a short one that fails, and repeats it by its seed.
func TestProtocol(t *testing.T) {
	total := defaultSteps
	if text := os.Getenv(stepsEnv); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("%s is %q, which is no number", stepsEnv, text)
		}
		total = n
	}
	checks := flag.Lookup("rapid.checks")
	old := checks.Value.String()
	checks.Value.Set(strconv.Itoa(max(1, total/stepsPerRun)))
	defer checks.Value.Set(old)

	client := testenv.Embedded(t)
	rapid.Check(t, func(t *rapid.T) {
		m, err := newMachine(client, "model", protocol)
		if err != nil {
			t.Fatal(err)
		}
		defer m.close()
		for range stepsPerRun {
			if err := m.step(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "step") }); err != nil {
				t.Fatalf("%v\n%s", err, strings.Join(m.trace, "\n"))
			}
		}
		if err := m.rest(); err != nil {
			t.Fatalf("%v\n%s", err, strings.Join(m.trace, "\n"))
		}
	})
}

// violation runs the machine on changed scripts until something is wrong, and
// returns after how many steps and what, or nil after so many.
func violation(client redis.UniversalClient, scripts *scriptSet, noCheck bool, steps int) (made int, found error) {
	random := rand.New(rand.NewPCG(1, 2))
	for made < steps {
		m, err := newMachine(client, "model", scripts)
		if err != nil {
			return made, err
		}
		m.noCheck = noCheck
		for range stepsPerRun {
			made++
			if err = m.step(random.IntN); err != nil {
				break
			}
		}
		if err == nil {
			err = m.rest()
		}
		m.close()
		if err != nil {
			return made, err
		}
	}
	return made, nil
}

// TestProtocolConditions takes one condition away at a time: what TestProtocol
// checks must notice each.
func TestProtocolConditions(t *testing.T) {
	type change struct{ old, with string }
	controls := []struct {
		name, script string
		changes      []change
	}{
		{"claim acts on pointers pending for others", "claim", []change{
			{"if pending[pointer] or whole then return pending[pointer] end", "if true then return true end"},
		}},
		{"claim takes the lease of the caller for that of another", "claim", []change{{"code = 2", "code = 3"}}},
		{"claim leases without a pointer", "claim", []change{{"if #kept == 0 then\n    code = 5", "if false then\n    code = 5"}}},
		{"claim takes the lease of another who lives", "claim", []change{{"elseif leases[i] and lives(leases[i]) then", "elseif false then"}}},
		{"claim leaves the lease to another who is dead", "claim", []change{{"elseif leases[i] and lives(leases[i]) then", "elseif leases[i] then"}}},
		{"sweep takes from those who live", "sweep", []change{{"elseif deadlines[name] then", "elseif false then"}}},
		{"retry announces nothing", "retry", []change{{"redis.call('XADD', KEYS[2],", "redis.call('XADD', KEYS[2] .. ':lost',"}}},
		{"settle does not look at the head", "settle", []change{{"elseif head ~= ARGV[f + 1] then", "elseif false then"}}},
		{"settle acknowledges for a dead session what it has no lease for", "settle", []change{
			{"if not alive(me) then return 0 end", ""},
			{"code = 3", "code = 3 for k = f + 3, f + 2 + tonumber(ARGV[f + 2]) do done[#done + 1] = ARGV[k] end"},
		}},
		{"heartbeat brings a session back", "heartbeat", []change{{"if not alive(ARGV[1]) then return 0 end", ""}}},
		{"reap removes consumers with something pending", "reap", []change{
			{"and #redis.call('XPENDING', KEYS[2], group, '-', '+', 1, name) == 0 then", "then"},
		}},
		{"skip announces nothing", "skip", []change{{"redis.call('XADD', KEYS[2],", "redis.call('XADD', KEYS[2] .. ':lost',"}}},
		{"skip does not look at the version", "skip", []change{
			{"if type(at) ~= 'number' or string.format('%.0f', at) ~= version then", "if false then"},
		}},
		{"leave moves pointers pending for others", "leave", []change{
			{"if #redis.call('XPENDING', KEYS[2], group, ARGV[k], ARGV[k], 1, me) > 0 then", "if true then"},
		}},
		{"trim looks at what was delivered only", "trim", []change{{"if pending[1] > 0 and", "if false and"}}},
	}
	const steps = 60_000 // the last of them is found after about 7,000
	for _, c := range controls {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			scripts := newScripts(func(name, source string) string {
				if name != c.script {
					return source
				}
				for _, ch := range c.changes {
					if !strings.Contains(source, ch.old) {
						t.Errorf("%s.lua has no %q any more", name, ch.old)
					}
					source = strings.Replace(source, ch.old, ch.with, 1)
				}
				return source
			})
			made, err := violation(testenv.Embedded(t), scripts, false, steps)
			if err == nil {
				t.Errorf("nothing was noticed in %d steps", steps)
			}
			t.Logf("after %d steps: %v", made, err)
		})
	}
	t.Run("commit without compare-and-set", func(t *testing.T) {
		t.Parallel()
		made, err := violation(testenv.Embedded(t), protocol, true, steps)
		if err == nil || !strings.HasPrefix(err.Error(), "I1") {
			t.Errorf("got %v after %d steps, want a violation of I1", err, made)
		}
	})
}
