package daemon

import (
	"cmp"
	"io"
	"net/url"
	"slices"
	"strings"
)

// hidden stands in place of a secret.
const hidden = "xxxxx"

// redacted returns a URL without what is secret in it.
func redacted(text string) string {
	u, err := url.Parse(text)
	if text == "" || err != nil {
		if text == "" {
			return ""
		}
		return hidden
	}
	if _, has := u.User.Password(); has {
		u.User = url.UserPassword(u.User.Username(), hidden)
	}
	query := u.Query()
	for name := range query {
		if strings.Contains(strings.ToLower(name), "password") {
			query.Set(name, hidden)
			u.RawQuery = query.Encode()
		}
	}
	return u.String()
}

// secretsOf returns what is secret in a setting's text.
func secretsOf(text string, isURL bool) []string {
	if !isURL {
		return []string{text}
	}
	u, err := url.Parse(text)
	if err != nil {
		return []string{text}
	}
	var all []string
	if password, has := u.User.Password(); has {
		// As it is, and as it is written in the URL.
		_, written, _ := strings.Cut(u.User.String(), ":")
		all = append(all, password, written)
	}
	for name, values := range u.Query() {
		if strings.Contains(strings.ToLower(name), "password") {
			all = append(all, values...)
		}
	}
	return all
}

// leastSecret is how long a secret is that is looked for in what is written: in
// place of a shorter one half of a text would be hidden.
const leastSecret = 4

// scrubber hides secrets in what is written to it: errors and logs, which quote what
// libraries say. It is a second guard. Those who write know not to write secrets.
type scrubber struct {
	to       io.Writer
	replacer *strings.Replacer // nil while there are no secrets
}

func (s *scrubber) hide(secrets []string) { s.replacer = hiding(secrets) }

// hiding returns what replaces secrets in a text. Of those that match in one place it takes
// the first, so the longest come first: else the rest of one that another begins is left.
func hiding(secrets []string) *strings.Replacer {
	longest := func(a, b string) int { return cmp.Compare(len(b), len(a)) }
	var pairs []string
	for _, secret := range slices.SortedFunc(slices.Values(secrets), longest) {
		if len(secret) >= leastSecret {
			pairs = append(pairs, secret, hidden)
		}
	}
	return strings.NewReplacer(pairs...)
}

// Write implements [io.Writer]. It is given whole lines.
func (s *scrubber) Write(lines []byte) (int, error) {
	if s.replacer == nil {
		return s.to.Write(lines)
	}
	if _, err := s.replacer.WriteString(s.to, string(lines)); err != nil {
		return 0, err
	}
	return len(lines), nil
}
