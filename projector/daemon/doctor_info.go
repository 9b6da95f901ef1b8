package daemon

import (
	"fmt"
	"strconv"
	"strings"
)

// info is what the command INFO of a Redis says, by name.
type info map[string]string

func parseInfo(text string) info {
	i := make(info)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && !strings.HasPrefix(name, "#") {
			i[name] = value
		}
	}
	return i
}

// number returns a number, 0 where it is not there.
func (i info) number(name string) int64 {
	n, _ := strconv.ParseInt(i[name], 10, 64)
	return n
}

// parts returns a value that has parts, such as ip=127.0.0.1,port=6380,state=online.
func (i info) parts(name string) info {
	parts := make(info)
	for part := range strings.SplitSeq(i[name], ",") {
		if key, value, ok := strings.Cut(part, "="); ok {
			parts[key] = value
		}
	}
	return parts
}

// seen writes values as evidence: aof_enabled = 1, role = master. What is not there is
// said to be not there.
func (i info) seen(names ...string) string {
	var all []string
	for _, name := range names {
		all = append(all, name+" = "+known(i[name]))
	}
	return strings.Join(all, ", ")
}

func known(value string) string {
	if value == "" {
		return "(empty)"
	}
	return value
}

// versionNumber is a version of a server: 7.0.15.
type versionNumber [3]int

func parseVersion(text string) (v versionNumber, ok bool) {
	parts := strings.SplitN(text, ".", 3)
	for i := range parts {
		digits := parts[i]
		if end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
			digits = digits[:end]
		}
		n, err := strconv.Atoi(digits)
		if err != nil {
			return v, false
		}
		v[i] = n
	}
	return v, len(parts) > 1
}

// bytesText writes an amount of memory with one decimal.
func bytesText(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/(1<<10), "KiB"
	for _, next := range []string{"MiB", "GiB", "TiB"} {
		if value < 1024 {
			break
		}
		value, unit = value/1024, next
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}

// percent writes a share of a whole.
func percent(part, whole int64) string {
	if whole == 0 {
		return "-"
	}
	return strconv.FormatInt(part*100/whole, 10) + " %"
}
