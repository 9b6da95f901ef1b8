package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// request is a request of the API to a namespace that is open. What is read from it is
// checked; the first thing that is wrong is kept in wrong, and what was read is then of
// no use.
type request struct {
	*http.Request
	*space
	wrong error
}

// call is a route of the API. The value is the body of the answer, as JSON.
type call func(*request) (any, error)

// api returns the handler of a call.
func (v *server) api(to *route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := v.opened.Load()
		if s == nil {
			v.fail(w, r, fail(exitUnavailable, "%w", errConnecting))
			return
		}
		q := &request{Request: r, space: s}
		body, err := any(nil), understood(r, to.params)
		if err == nil && to.turns != nil {
			select {
			case to.turns <- struct{}{}:
				// Until it is written, because it takes its room until then.
				defer func() { <-to.turns }()
			case <-r.Context().Done():
				err = fail(exitUnavailable, "others ask for much too, and this did not have its turn in time: ask again later")
			}
		}
		if err == nil {
			body, err = to.call(q)
		}
		if err != nil {
			v.fail(w, r, err)
			return
		}
		answer(w, http.StatusOK, body)
	})
}

// understood returns an error where the query says what nobody would look at.
func understood(r *http.Request, params []string) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return usage("the query cannot be read: %w", err)
	}
	for name, values := range query {
		if !slices.Contains(params, name) {
			takes := "it takes none"
			if len(params) > 0 {
				takes = "it takes " + choice(params)
			}
			return usage("there is no parameter %q: %s", clip(name, 100), takes)
		}
		if len(values) > 1 {
			return usage("%s is given more than once", name)
		}
	}
	return nil
}

func (q *request) mistake(format string, args ...any) {
	if q.wrong == nil {
		q.wrong = usage(format, args...)
	}
}

func (q *request) text(name string) string { return q.URL.Query().Get(name) }

// number returns a number of the query.
func (q *request) number(name string, initial, least, most uint64) uint64 {
	text := q.text(name)
	if text == "" {
		return initial
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n < least || n > most {
		q.mistake("%s is a number from %d to %d, not %q", name, least, most, clip(text, 100))
	}
	return n
}

const (
	// mostGenerations and mostVersions are no limits of their own: beyond them there
	// is nothing.
	mostGenerations = 1<<31 - 1
	mostVersions    = 1e14
	// usualLimit is how much is listed unless asked for more, up to mostLimit.
	usualLimit = 100
	mostLimit  = 1000
)

func (q *request) limit() int { return int(q.number("limit", usualLimit, 1, mostLimit)) }

// generation returns the generation asked for, 0 where none is.
func (q *request) generation() int { return int(q.number("generation", 0, 1, mostGenerations)) }

// flag returns a parameter that is true or false.
func (q *request) flag(name string) bool {
	text := q.text(name)
	if text == "" {
		return false
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		q.mistake("%s is true or false, not %q", name, clip(text, 100))
	}
	return b
}

const (
	// usualTimeout is how long an answer waits for something to happen unless told how
	// long, up to mostTimeout.
	usualTimeout = 30 * time.Second
	mostTimeout  = 5 * time.Minute
)

// timeout reads how long to wait; text is empty for the usual time.
func (q *request) timeout(text string) time.Duration {
	if text == "" {
		return usualTimeout
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > mostTimeout {
		q.mistake("timeout is a time with its unit up to %s, such as 500ms or 3s, not %q", mostTimeout, clip(text, 100))
	}
	return d
}

// body reads the body, which may be left out, into a struct. A field that this does not
// have is an error: it would change nothing.
func (q *request) body(into any) {
	text, err := io.ReadAll(q.Body)
	if err == nil && !utf8.Valid(text) {
		err = errors.New("it is not UTF-8") // of which something else would be kept
	}
	if half := halfOf(text); err == nil && half != "" {
		err = fmt.Errorf("%s is half of a character, and no text has that", half)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err == nil {
		err = decoder.Decode(into)
	}
	if errors.Is(err, io.EOF) {
		return
	}
	if err == nil {
		if _, err = decoder.Token(); errors.Is(err, io.EOF) {
			return
		}
		err = errors.New("it is more than one value")
	}
	if kind := (*json.UnmarshalTypeError)(nil); errors.As(err, &kind) {
		what := "it"
		if kind.Field != "" {
			what = kind.Field[strings.LastIndex(kind.Field, ".")+1:] // without Go's type
		}
		q.mistake("the body: %s cannot be a JSON %s", what, kind.Value)
		return
	}
	q.mistake("the body: %s", strings.TrimPrefix(fmt.Sprint(err), "json: "))
}
