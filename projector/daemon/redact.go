package daemon

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strconv"
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
		// A node of a cluster is a host, and somebody may write it like a URL all the same.
		for i, value := range query[name] {
			login, host, found := cutLast(value, "@")
			if user, _, has := strings.Cut(strings.TrimPrefix(login, schemeOf(login)), ":"); found && has {
				query[name][i] = schemeOf(login) + user + ":" + hidden + "@" + host
				u.RawQuery = query.Encode()
			}
		}
	}
	return u.String()
}

// cutLast cuts a text at the last of separators: a password may have others.
func cutLast(text, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(text, separator); i >= 0 {
		return text[:i], text[i+len(separator):], true
	}
	return text, "", false
}

// schemeOf returns what a URL begins with, such as redis://, empty where it does not.
func schemeOf(text string) string {
	if scheme, _, found := strings.Cut(text, "://"); found {
		return scheme + "://"
	}
	return ""
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
		for _, value := range values {
			if login, _, found := cutLast(value, "@"); found {
				if _, password, has := strings.Cut(strings.TrimPrefix(login, schemeOf(login)), ":"); has {
					all = append(all, password, url.QueryEscape(password))
				}
			}
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
	var pairs, all []string
	for _, secret := range secrets {
		all = append(all, spellings(secret)...)
	}
	for _, secret := range slices.SortedFunc(slices.Values(all), longest) {
		if len(secret) >= leastSecret {
			pairs = append(pairs, secret, hidden)
		}
	}
	return strings.NewReplacer(pairs...)
}

// spellings returns a secret as it is, and as it is written where texts are quoted: in logs,
// in JSON and in URLs.
func spellings(secret string) []string {
	all := []string{secret}
	add := func(text string) {
		if !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	for _, quoted := range []string{strconv.Quote(secret), strconv.QuoteToASCII(secret)} {
		add(quoted[1 : len(quoted)-1])
	}
	if quoted, err := json.Marshal(secret); err == nil {
		add(string(quoted[1 : len(quoted)-1]))
	}
	var plain bytes.Buffer
	encoder := json.NewEncoder(&plain)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(secret); err == nil {
		quoted := strings.TrimSuffix(plain.String(), "\n")
		add(quoted[1 : len(quoted)-1])
	}
	add(url.QueryEscape(secret))
	add(url.PathEscape(secret))
	return all
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
