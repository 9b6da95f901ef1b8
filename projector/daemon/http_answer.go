package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/projectord/projectord/eventstore"
)

// errorView is the body of every answer that is an error.
type errorView struct {
	Error string `json:"error"`
	// Code is the exit code of the command that does the same.
	Code int `json:"code"`
}

// refusal is an error that only HTTP knows.
type refusal struct {
	status int
	header http.Header
	err    error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refused(status int, format string, args ...any) *refusal {
	return &refusal{status: status, err: fmt.Errorf(format, args...)}
}

// statuses says what the exit codes are in HTTP.
var statuses = map[int]int{
	exitFailed:      http.StatusInternalServerError,
	exitUsage:       http.StatusBadRequest,
	exitUnconfirmed: http.StatusPreconditionRequired,
	exitAbsent:      http.StatusNotFound,
	exitUnavailable: http.StatusServiceUnavailable,
	exitLate:        http.StatusGatewayTimeout,
}

// statusOf returns the status and the exit code of an error.
func statusOf(err error) (status, code int) {
	if r := (*refusal)(nil); errors.As(err, &r) {
		switch r.status {
		case http.StatusNotFound:
			return r.status, exitAbsent
		case http.StatusServiceUnavailable:
			return r.status, exitUnavailable
		}
		return r.status, exitUsage
	}
	code = exitCode(err)
	conflict, inTheWay := (*eventstore.ConflictError)(nil), (*inTheWayError)(nil)
	if errors.As(err, &conflict) || errors.As(err, &inTheWay) || errors.Is(err, eventstore.ErrTombstoned) {
		return http.StatusConflict, code
	}
	if status = statuses[code]; status == 0 {
		status = http.StatusInternalServerError
	}
	return status, code
}

// statusGone is for the log and the metrics alone: the client did not wait for the answer.
const statusGone = 499

// cut returns the error of an answer that was cut short.
func (v *server) cut(err error) error {
	if v.leaving.Err() != nil {
		return fail(exitUnavailable, "the daemon ends, and this did not: %w", err)
	}
	return refused(statusGone, "nobody waits for the answer: %w", err)
}

// late returns the error of an answer that took longer than it may. It says which server
// kept it waiting, as far as that can be found out.
func (v *server) late(err error) error {
	decided := (*failure)(nil)
	code := exitCode(err)
	if s := v.opened.Load(); s == nil || errors.As(err, &decided) || code != exitUnavailable && code != exitLate {
		return err
	} else if away := v.ready.ping(context.Background(), s.client); away != nil {
		return fail(exitUnavailable, "Redis at %s does not answer in time: %w", redacted(v.RedisURL), err)
	}
	if v.PostgresURL != "" {
		return fail(exitUnavailable, "it took too long; Redis answers, so is Postgres at %s slow or away? %w", redacted(v.PostgresURL), err)
	}
	return fail(exitUnavailable, "it took too long, though Redis at %s answers: is it slow? %w", redacted(v.RedisURL), err)
}

// fail answers with an error, without what is secret in it.
func (v *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	of := (*refusal)(nil)
	switch {
	case errors.As(err, &of):
		for name, values := range of.header {
			w.Header()[name] = values
		}
	case errors.Is(r.Context().Err(), context.Canceled):
		err = v.cut(err)
	case errors.Is(r.Context().Err(), context.DeadlineExceeded):
		err = v.late(err)
	}
	status, code := statusOf(err)
	text := v.hide.Replace(err.Error())
	if missing := (*unconfirmedError)(nil); errors.As(err, &missing) {
		text = missing.would + `: "confirm": true in the body does it`
	}
	level := v.logger.DebugContext
	if status == http.StatusInternalServerError {
		level = v.logger.WarnContext
	}
	level(r.Context(), "http: a request failed", "method", r.Method, "path", r.URL.Path, "status", status, "reason", text)
	answer(w, status, errorView{text, code})
}

// answer writes a value as JSON.
func answer(w http.ResponseWriter, status int, body any) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(body); err != nil {
		status = http.StatusInternalServerError
		text.Reset()
		_ = encoder.Encode(errorView{"the answer cannot be written as JSON: " + err.Error(), exitFailed})
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text.Bytes()) // where that fails the client is gone
}
