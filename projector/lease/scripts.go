package lease

import (
	"embed"
	"fmt"

	"github.com/redis/go-redis/v9"
)

//go:embed lua/*.lua
var sources embed.FS

// scriptSet holds a script per operation.
type scriptSet struct {
	register, heartbeat, drain, stop     *redis.Script
	claim, settle, park, retry, release  *redis.Script
	skip, announce, lag                  *redis.Script
	sweep, reap, trim, walked            *redis.Script
	fill, take, done, throttle, sessions *redis.Script
	follow, outset, leave                *redis.Script
	enter, entries, pending              *redis.Script
}

// protocol is the scripts as they are.
var protocol = newScripts(func(_, source string) string { return source })

// newScripts builds the scripts from their sources, each after a change.
func newScripts(change func(name, source string) string) *scriptSet {
	script := func(names ...string) *redis.Script {
		var whole string
		for _, name := range names {
			source, err := sources.ReadFile("lua/" + name + ".lua")
			if err != nil {
				panic(fmt.Sprintf("lease: %v", err)) // a name below is wrong
			}
			whole += change(name, string(source)) + "\n"
		}
		return redis.NewScript(whole)
	}
	return &scriptSet{
		register:  script("session", "register"),
		heartbeat: script("session", "heartbeat"),
		drain:     script("session", "drain"),
		stop:      script("stop"),
		claim:     script("session", "acknowledge", "claim"),
		settle:    script("session", "acknowledge", "settle"),
		park:      script("session", "acknowledge", "park"),
		retry:     script("retry"),
		release:   script("session", "release"),
		skip:      script("skip"),
		announce:  script("announce"),
		lag:       script("lag"),
		sweep:     script("session", "sweep"),
		reap:      script("session", "reap"),
		trim:      script("trim"),
		walked:    script("walked"),
		fill:      script("fill"),
		take:      script("session", "take"),
		done:      script("session", "done"),
		throttle:  script("throttle"),
		sessions:  script("session", "sessions"),
		follow:    script("follow"),
		outset:    script("outset"),
		leave:     script("session", "leave"),
		enter:     script("numbers", "enter"),
		entries:   script("session", "numbers", "entries"),
		pending:   script("session", "pending"),
	}
}

// Codes that the scripts return besides the verdicts.
const (
	codeFenced = 0
	codeDone   = 1
	codeAsked  = 2 // done, and the session was asked to end
)
