package servers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
)

// The places searched are the ones scripts/setup.sh searches.
var (
	redisPlaces = []string{
		"/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/opt/homebrew/bin",
		"/usr/local/opt/redis/bin", "/opt/homebrew/opt/redis/bin", "/opt/redis/bin", "/opt/valkey/bin",
	}
	postgresPlaces = []string{
		"/usr/lib/postgresql/*/bin", "/Applications/Postgres.app/Contents/Versions/latest/bin",
		"/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin",
		"/usr/pgsql-*/bin", "/usr/local/pgsql/bin",
	}
)

// redisFloor is the oldest major version of Redis projectord runs on.
const redisFloor = 7

// ErrMissing is wrapped by the error that a server is not installed, or too old. What to
// do about it depends on who asks, and is for the caller to say.
var ErrMissing = errors.New("nothing to start one with")

// FindRedis returns the path of a redis-server or valkey-server that is new enough.
var FindRedis = sync.OnceValues(func() (string, error) {
	var found []string
	if path := os.Getenv("PROJECTORD_TEST_REDIS_SERVER"); path != "" {
		found = []string{path}
	} else {
		for _, name := range []string{"redis-server", "valkey-server"} {
			if path, err := exec.LookPath(name); err == nil {
				found = append(found, path)
			}
			for _, dir := range redisPlaces {
				found = append(found, filepath.Join(dir, name))
			}
		}
	}
	problem := "no redis-server or valkey-server found"
	for _, path := range found {
		output, err := exec.Command(path, "--version").Output()
		if err != nil {
			continue
		}
		if major := redisMajor(string(output)); major < redisFloor {
			problem = fmt.Sprintf("%s is older than %d.0", path, redisFloor)
			continue
		}
		return path, nil
	}
	return "", fmt.Errorf("%s: %w", problem, ErrMissing)
})

var versionPattern = regexp.MustCompile(`v=(\d+)\.`)

// redisMajor reads the major version out of what a server says of itself, such
// as "Redis server v=7.0.15 sha=00000000:0 ..."; it is 0 if there is none.
func redisMajor(text string) int {
	match := versionPattern.FindStringSubmatch(text)
	if match == nil {
		return 0
	}
	major, _ := strconv.Atoi(match[1])
	return major
}

// FindPostgres returns the directory of the Postgres server programs.
var FindPostgres = sync.OnceValues(func() (string, error) {
	var dirs []string
	if dir := os.Getenv("PROJECTORD_TEST_POSTGRES_BIN"); dir != "" {
		dirs = []string{dir}
	} else {
		if path, err := exec.LookPath("postgres"); err == nil {
			dirs = append(dirs, filepath.Dir(path))
		}
		for _, pattern := range postgresPlaces {
			matches, _ := filepath.Glob(pattern)
			// Matches come in order, so the last one is the newest.
			for i := range matches {
				dirs = append(dirs, matches[len(matches)-1-i])
			}
		}
	}
	for _, dir := range dirs {
		if executable(dir, "initdb") && executable(dir, "postgres") {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no Postgres server programs found: %w", ErrMissing)
})

func executable(dir, name string) bool {
	_, err := exec.LookPath(filepath.Join(dir, name))
	return err == nil
}
