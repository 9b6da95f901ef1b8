package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// written writes a file of this test.
func written(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// configured returns a program that is given variables and no server.
func configured(t *testing.T, variables ...string) *fixture {
	return &fixture{T: t, app: shopApp(1), environ: variables}
}

// A flag counts before the environment, that before the file, that before the default.
func TestLayers(t *testing.T) {
	t.Parallel()
	file := written(t, "shop.yaml", "ttl: 4s\ncapacity: 7\nonly: [carts, items]\nleave-old: true\nname: file\n")
	f := configured(t, "PROJECTORD_TTL=5s", "PROJECTORD_NAME=environment", "OTHER=1")
	p := []string{"--config", file, "--name", "flag"}
	out := f.want(exitDone, append(words("config print"), p...))
	for _, line := range []string{
		"name               flag                    --name",
		"ttl                5s                      PROJECTORD_TTL",
		"capacity           7                       " + file,
		"only               carts,items             " + file,
		"leave-old          true                    " + file,
		"attempts           0                       default",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("it does not say %q:\n%s", line, out)
		}
	}
	f.want(exitDone, append(words("config validate"), p...), "the settings can be used")
	f.with("PROJECTORD_CONFIG="+file).want(exitDone, words("config print -o yaml"), "- name: capacity\n  value: \"7\"\n  from: "+file+"\n  env: PROJECTORD_CAPACITY")
	f.with("PROJECTORD_TTL=").want(exitDone, words("config print"), "ttl                3s                      default") // as good as not set
}

// What the file says is taken as it is written, also where YAML would have numbers, dates
// and the like of it.
func TestFileAsWritten(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ said, want string }{
		{"012345", "012345"}, {"0x1F", "0x1F"}, {"1_000", "1_000"}, {"1.10", "1.10"}, {"1e3", "1e3"},
		{"12345678901234567890123", "12345678901234567890123"}, {"2026-01-01", "2026-01-01"},
		{"True", "True"}, {"yes", "yes"}, {".inf", ".inf"}, {"+7", "+7"},
		{`"012"`, "012"}, {`'null'`, "null"}, {`"a\tb"`, "a\tb"}, {"!!str 010", "010"}, {"!!binary c2VzYW1l", "sesame"},
		{"|-\n  one\n  two", "one\ntwo"},
	} {
		file := written(t, "c.yaml", "redis-password: "+c.said+"\n")
		p := &program{app: shopApp(1)}
		config, err := load(p.newRoot().Flags(), []string{env(configSetting) + "=" + file})
		if err != nil {
			t.Errorf("%s: %v", c.said, err)
		} else if config.RedisPassword != c.want {
			t.Errorf("of %s it makes %q, not %q", c.said, config.RedisPassword, c.want)
		}
	}
	file := written(t, "c.yaml", "name: &blue 1.10\nonly: [*blue, 010, 'x']\npartitions: &few 4\ncapacity: *few\n")
	p := &program{app: shopApp(1)}
	config, err := load(p.newRoot().Flags(), []string{env(configSetting) + "=" + file})
	if err != nil {
		t.Fatal(err)
	}
	if config.Name != "1.10" || strings.Join(config.Only, " ") != "1.10 010 x" || config.Capacity != 4 {
		t.Errorf("the file gives %+v", config.settings)
	}
}

// Every setting can be given by each of the three, in the text that print prints.
func TestEverySetting(t *testing.T) {
	t.Parallel()
	s := new(settings)
	for _, one := range s.table() {
		if one.help == "" || one.group == "" || strings.ToLower(one.name) != one.name {
			t.Errorf("the setting %+v is not complete", one)
		}
		if one.initial == "" {
			continue
		}
		if err := one.into.set(one.initial); err != nil {
			t.Errorf("the default of %s: %v", one.name, err)
		}
		if text := one.into.text(); text != one.initial && one.into.kind() != "time" {
			t.Errorf("the default of %s is %q, and reads %q", one.name, one.initial, text)
		}
		f := configured(t, env(one.name)+"="+one.initial)
		f.want(exitDone, words("config validate"))
		configured(t).want(exitDone, []string{"config", "validate", "--config", written(t, "c.yaml", one.name+": "+one.initial)})
		if _, is := one.into.(boolValue); !is && !one.unflagged {
			configured(t).want(exitDone, []string{"config", "validate", "--" + one.name, one.initial})
		}
	}
	if s.TTL != 3*time.Second || s.Cache != 64<<20 || s.Namespace != "projectord" {
		t.Errorf("the defaults are %+v", s)
	}
}

// What is wrong is said in the words it was given by, with what may have been meant.
func TestWrongSettings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file, variable, flags string
		says                  string
	}{
		{variable: "PROJECTORD_REDIS_ULR=x", says: "PROJECTORD_REDIS_ULR is no setting, do you mean PROJECTORD_REDIS_URL?"},
		{variable: "PROJECTORD_QWERTZUIOP=x", says: "is no setting: config print lists them"},
		{variable: "PROJECTORD_TTL=3", says: "PROJECTORD_TTL: it is a time with its unit"},
		{variable: "PROJECTORD_TTL=1ms", says: "PROJECTORD_TTL: it is 100ms or more"},
		{variable: "PROJECTORD_CAPACITY=0", says: "PROJECTORD_CAPACITY: it is 1 or more"},
		{variable: "PROJECTORD_CAPACITY=many", says: "it is a whole number"},
		{variable: "PROJECTORD_PARTITIONS=2000", says: "it is 1024 at the most"},
		{variable: "PROJECTORD_LEAVE_OLD=maybe", says: "it is true or false"},
		{variable: "PROJECTORD_CACHE=64", says: "it is a size with its unit"},
		{variable: "PROJECTORD_CACHE=0MiB", says: "it is a size with its unit"},
		{variable: "PROJECTORD_LOG_LEVEL=loud", says: "it is debug, info, warn or error"},
		{variable: "PROJECTORD_NAMESPACE=No Name", says: "does not match"},
		{variable: "PROJECTORD_REDIS_URL=sesame:secret", says: "the URL cannot be read: it is like redis://"},
		{variable: "PROJECTORD_REDIS_URL=redis://u:sesame@127.0.0.1:x/", says: "the URL cannot be read"},
		{variable: "PROJECTORD_REDIS_URL=redis+sentinel://:sesame@127.0.0.1:26379", says: "?master_name=NAME does"},
		{variable: "PROJECTORD_POSTGRES_URL=mysql://u:sesame@x/", says: "the URL cannot be read: it is like postgres://"},
		{variable: "PROJECTORD_POSTGRES_PASSWORD=sesame", says: "postgres-password is given, but no postgres-url"},
		{variable: "PROJECTORD_SNAPSHOTS=postgres", says: "no postgres-url is given"},
		{variable: "PROJECTORD_REDIS_CERT_FILE=x", says: "redis-cert-file and redis-key-file go together"},
		{variable: "PROJECTORD_REDIS_CA_FILE=x", says: "for TLS, which redis-url does not ask for"},
		{variable: "PROJECTORD_REDIS_PASSWORD_FILE=/nowhere/sesame", says: "PROJECTORD_REDIS_PASSWORD_FILE: open /nowhere"},
		{variable: "PROJECTORD_ONLY=carts,order", says: "this takes the code of order, which shop does not have"},
		{file: "redis:\n  url: x\n", says: `there is no setting "redis"`},
		{file: "redis_url: redis://:sesame@x\n", says: `there is no setting "redis_url", do you mean redis-url?`},
		{file: "ttl: [1s, 2s]\n", says: "ttl in "},
		{file: "# none\n\nttl:\n", says: "c.yaml: line 3: ttl: it has no value"},
		{file: "only: [a, ~]\n", says: "only: it has no value"},
		{file: "only: &a [*a]\n", says: "only: it has a value, not settings below it"},
		{file: "capacity: 1_000\n", says: "capacity in "},
		{file: "redis-password: !!binary sesame!\n", says: "redis-password: yaml: "},
		{file: "ttl: {a: b}\n", says: "it has a value, not settings below it"},
		{file: "ttl: 3s\nttl: 4s\n", says: `line 2: mapping key "ttl" already defined at line 1`},
		{file: "- ttl\n", says: "c.yaml"},
		{file: "redis-password-file: /nowhere/sesame\n", says: "c.yaml: redis-password-file: open /nowhere"},
		{flags: "--ttl 3", says: "--ttl: it is a time"},
		{flags: "--tll 3s", says: "unknown flag: --tll, do you mean --ttl?"},
		{flags: "--redis-password sesame", says: "would show in the list of processes"},
		{flags: "--config /nowhere", says: "reading the configuration"},
	} {
		args := append(words("config validate"), words(c.flags)...)
		if c.file != "" {
			args = append(args, "--config", written(t, "c.yaml", c.file))
		}
		f := configured(t)
		if c.variable != "" {
			f = configured(t, c.variable)
		}
		r := f.call(args...)
		if r.code != exitUsage || !strings.Contains(r.err, c.says) {
			t.Errorf("%+v: code %d, %s", c, r.code, r.err)
		}
		if strings.Contains(strings.ReplaceAll(r.out+r.err, "/nowhere/sesame", ""), "sesame") {
			t.Errorf("%+v: the password is told: %s%s", c, r.out, r.err)
		}
	}
	configured(t).want(exitUsage, words("status --ttl 3s"), "--ttl is for run: here it changes nothing")
	// What Kubernetes sets for a service of our name is no setting.
	configured(t, "PROJECTORD_SERVICE_HOST=10.0.0.1", "PROJECTORD_PORT=tcp://10.0.0.1:80", "PROJECTORD_PORT_80_TCP_ADDR=10.0.0.1", "PROJECTORD_SERVICE_PORT_HTTP=80").
		want(exitDone, words("config validate"))
	// Printing the version or the help takes no settings.
	configured(t, "PROJECTORD_TTL=x").want(exitDone, words("version"), "shop v1.2.3 (go1")
	configured(t, "PROJECTORD_TTL=x").want(exitDone, words("-h"), "Exit codes:")
	configured(t, "PROJECTORD_TTL=x").want(exitDone, words("completion bash"), "bash completion")
}

// A secret comes from a file as well as from elsewhere, and is never printed.
func TestSecrets(t *testing.T) {
	t.Parallel()
	const canary = "Tr0ub4dor&3"
	held := written(t, "password", canary+"\n")
	urls := written(t, "url", "postgres://ann:Tr0ub4dor%263@127.0.0.1:1/shop?sslpassword=Tr0ub4dor%263")
	for _, f := range []*fixture{
		configured(t, "PROJECTORD_REDIS_PASSWORD_FILE="+held, "PROJECTORD_POSTGRES_URL_FILE="+urls, "PROJECTORD_REDIS_URL=redis://127.0.0.1:1"),
		configured(t, "PROJECTORD_REDIS_PASSWORD="+canary, "PROJECTORD_REDIS_URL=redis://ann:Tr0ub4dor%263@127.0.0.1:1", "PROJECTORD_POSTGRES_PASSWORD_FILE="+held, "PROJECTORD_POSTGRES_URL=postgres://ann@127.0.0.1:1/shop"),
		configured(t, "PROJECTORD_CONFIG="+written(t, "c.yaml", "redis-password-file: "+held+"\npostgres-url-file: "+urls+"\nredis-url: redis://127.0.0.1:1")),
	} {
		for _, args := range [][]string{words("config print"), words("config print -o json"), words("config print -o yaml"), words("config validate"), words("-h"), words("run -h"), words("run"), words("status"), words("migrate status"), words("wait carts cart-1 1")} {
			r := f.call(args...)
			for _, secret := range []string{canary, "Tr0ub4dor"} {
				if strings.Contains(r.out+r.err, secret) {
					t.Errorf("%v tells the secret:\n%s%s", args, r.out, r.err)
				}
			}
		}
		p := &program{app: f.app, environ: f.environ}
		c, err := load(p.newRoot().Flags(), f.environ)
		if err != nil {
			t.Fatal(err)
		}
		if c.RedisPassword != canary {
			t.Errorf("the password is %q", c.RedisPassword)
		}
	}
	f := configured(t, "PROJECTORD_REDIS_PASSWORD_FILE="+held)
	f.want(exitDone, words("config print"), "redis-password     xxxxx                   PROJECTORD_REDIS_PASSWORD_FILE "+held)
	configured(t, "PROJECTORD_REDIS_URL=redis://ann:sesame@h:1/2").want(exitDone, words("config print"), "redis://ann:xxxxx@h:1/2")
	f.with("PROJECTORD_REDIS_PASSWORD=x").want(exitUsage, words("config print"), "redis-password is given already: leave out one of the two")
	// One place overrules another also where they give it in different ways.
	f.with("PROJECTORD_CONFIG="+written(t, "c.yaml", "redis-password: other")).want(exitDone, words("config print"), "PROJECTORD_REDIS_PASSWORD_FILE")
	configured(t, "PROJECTORD_REDIS_PASSWORD_FILE="+written(t, "empty", "\n")).want(exitUsage, words("config print"), "is empty")
}

// A password in the URL of a flag shows in the list of processes: the daemon and doctor warn of
// that, and do not tell it.
func TestSecretFlags(t *testing.T) {
	t.Parallel()
	const url = "redis://u:opensesame@127.0.0.1:1"
	file := written(t, "password", "opensesame")
	for name, c := range map[string]struct {
		variable string
		flags    []string
		warns    bool
	}{
		"PasswordInFlag":        {"", []string{"--redis-url", url}, true},
		"PostgresToo":           {"", []string{"--redis-url", "redis://127.0.0.1:1", "--postgres-url", "postgres://u:opensesame@127.0.0.1:1/d"}, true},
		"NoPassword":            {"", []string{"--redis-url", "redis://u@127.0.0.1:1"}, false},
		"PasswordInEnvironment": {"PROJECTORD_REDIS_URL=" + url, nil, false},
		"PasswordInFile":        {"PROJECTORD_REDIS_URL=redis://127.0.0.1:1", []string{"--redis-password-file", file}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := configured(t, c.variable)
			run := f.call(append(words("run --only nothing"), c.flags...)...)
			doctor := f.call(append(words("doctor --connect-timeout 200ms -o json"), c.flags...)...)
			if warned := strings.Contains(run.err, "the list of processes shows a password"); warned != c.warns || run.code != exitUsage {
				t.Errorf("run warns: %v, want %v; code %d\n%s", warned, c.warns, run.code, run.err)
			}
			if found := strings.Contains(doctor.out, `"secret-flags"`); found != c.warns {
				t.Errorf("doctor finds it: %v, want %v\n%s%s", found, c.warns, doctor.out, doctor.err)
			}
			if strings.Contains(run.err+run.out+doctor.out+doctor.err, "sesame") {
				t.Error("it tells the password")
			}
		})
	}
}

// The second guard: what quotes a secret is written without it.
func TestScrubber(t *testing.T) {
	t.Parallel()
	var out transcript
	s := &scrubber{to: &out}
	s.Write([]byte("before sesame\n"))
	s.hide([]string{"sesame", "", "abc"})
	n, err := s.Write([]byte("dial redis://u:sesame@h, abc\n"))
	if want := "before sesame\ndial redis://u:xxxxx@h, abc\n"; out.String() != want || n != 29 || err != nil {
		t.Errorf("got %q, %d, %v", out.String(), n, err)
	}
}

// Of a secret that begins or ends like another nothing is left.
func TestHidingSecretsWithinOthers(t *testing.T) {
	t.Parallel()
	for _, secrets := range [][]string{{"hunter22", "hunter22-and-more", "and-more"}, {"and-more", "hunter22-and-more", "hunter22"}} {
		if got := hiding(secrets).Replace("token is hunter22-and-more, hunter22"); got != "token is xxxxx, xxxxx" {
			t.Errorf("of %q it makes %q", secrets, got)
		}
	}
}
