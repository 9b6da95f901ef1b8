package daemon

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// value is where a setting is kept, and reads its text. All of them have a text that
// reads as the same value.
type value interface {
	// set reads a text. Its errors do not repeat it where it may be a secret.
	set(text string) error
	// text returns what set would read.
	text() string
	// kind is what help calls the value, such as "time".
	kind() string
}

// textValue is any text, or one of some words.
type textValue struct {
	into  *string
	words []string
	check func(string) error
	name  string
}

func (v textValue) set(text string) error {
	if len(v.words) > 0 && !slices.Contains(v.words, text) {
		return fmt.Errorf("it is %s, not %q", choice(v.words), text)
	}
	if v.check != nil && text != "" {
		if err := v.check(text); err != nil {
			return err
		}
	}
	*v.into = text
	return nil
}
func (v textValue) text() string { return *v.into }
func (v textValue) kind() string {
	if v.name == "" {
		return "word"
	}
	return v.name
}

// choice lists words: "a, b or c".
func choice(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
	return strings.Join(words, "")
}

// numberValue is a whole number from some least one on.
type numberValue struct {
	into  *int
	least int
	most  int // 0 for any
}

func (v numberValue) set(text string) error {
	n, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return fmt.Errorf("it is a whole number, not %q", text)
	case n < v.least:
		return fmt.Errorf("it is %d or more, not %d", v.least, n)
	case v.most > 0 && n > v.most:
		return fmt.Errorf("it is %d at the most, not %d", v.most, n)
	}
	*v.into = n
	return nil
}
func (v numberValue) text() string { return strconv.Itoa(*v.into) }
func (v numberValue) kind() string { return "number" }

// timeValue is a span of time, such as 1m30s.
type timeValue struct {
	into  *time.Duration
	least time.Duration
	never bool // 0 is allowed too
}

func (v timeValue) set(text string) error {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return fmt.Errorf("it is a time with its unit, such as 500ms, 3s or 1m30s, not %q", text)
	case d == 0 && v.never:
	case d < v.least:
		return fmt.Errorf("it is %s or more, not %s", v.least, d)
	}
	*v.into = d
	return nil
}
func (v timeValue) text() string { return v.into.String() }
func (v timeValue) kind() string { return "time" }

// boolValue is true or false.
type boolValue struct{ into *bool }

func (v boolValue) set(text string) error {
	b, err := strconv.ParseBool(text)
	if err != nil {
		return fmt.Errorf("it is true or false, not %q", text)
	}
	*v.into = b
	return nil
}
func (v boolValue) text() string { return strconv.FormatBool(*v.into) }
func (v boolValue) kind() string { return "bool" }

// sizeValue is an amount of memory: 64MiB.
type sizeValue struct{ into *int64 }

var sizeUnits = []struct {
	name string
	size int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func (v sizeValue) set(text string) error {
	for _, unit := range sizeUnits {
		if digits, found := strings.CutSuffix(text, unit.name); found {
			n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
			if err != nil || n < 1 || n > (1<<62)/unit.size {
				break
			}
			*v.into = n * unit.size
			return nil
		}
	}
	return fmt.Errorf("it is a size with its unit, such as 64MiB or 1GiB, not %q", text)
}
func (v sizeValue) text() string {
	for _, unit := range sizeUnits {
		if *v.into%unit.size == 0 {
			return strconv.FormatInt(*v.into/unit.size, 10) + unit.name
		}
	}
	return ""
}
func (v sizeValue) kind() string { return "size" }

// listValue is names with commas between.
type listValue struct{ into *[]string }

func (v listValue) set(text string) error {
	*v.into = nil
	for name := range strings.SplitSeq(text, ",") {
		if name = strings.TrimSpace(name); name != "" {
			*v.into = append(*v.into, name)
		}
	}
	return nil
}
func (v listValue) text() string { return strings.Join(*v.into, ",") }
func (v listValue) kind() string { return "names" }

// urlValue is the URL of a server. It may hold a password, so errors do not repeat it.
type urlValue struct {
	into    *string
	schemes []string
	like    string
}

func (v urlValue) set(text string) error {
	u, err := url.Parse(text)
	if text != "" && (err != nil || !slices.Contains(v.schemes, u.Scheme) || u.Host == "" && u.Path == "") {
		return fmt.Errorf("the URL cannot be read: it is like %s, with special characters percent-encoded", v.like)
	}
	*v.into = text
	return nil
}
func (v urlValue) text() string { return *v.into }
func (v urlValue) kind() string { return "URL" }
