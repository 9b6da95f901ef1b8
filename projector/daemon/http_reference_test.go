package daemon

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// httpReference is made of the table of routes and of the statuses.
func httpReference(routes []route) string {
	var b strings.Builder
	b.WriteString(madeBy + `# HTTP

` + "`run`" + ` answers HTTP at ` + "`--http`" + `, 127.0.0.1:7070 unless told otherwise (a free port where another has that one): probes, metrics, and an
API that is the commands, with bodies that are what they print with ` + "`-o json`" + `. Port 0 takes a free
one, which the log names; ` + "`off`" + ` answers nobody. Of several daemons on a machine only one has the
usual port. [openapi.yaml](../../projector/daemon/openapi.yaml) describes it all, and every daemon
serves it.

` + "```sh" + `
curl -s localhost:7070/readyz
curl -s localhost:7070/api/v1/status
curl -s localhost:7070/api/v1/streams/cart-42?limit=10
curl -s localhost:7070/api/v1/streams/cart-42/events -H 'Content-Type: application/json' \
  -d '{"type": "item_added", "data": {"item": "tea", "qty": 2}, "expect": "any"}'
curl -s 'localhost:7070/api/v1/projections/cart_current/wait?stream=cart-42&version=1&timeout=5s'
curl -s localhost:7070/api/v1/projections/cart_current/documents/42
` + "```" + `

## Who is answered

Without a token only an address of the loopback is listened on; any other refuses to start. The
token is the setting ` + "`http-token`" + `, best given by the name of a file (--http-token-file,
PROJECTORD_HTTP_TOKEN_FILE). Where there is one, every request shows it, on the loopback too:

` + "```sh" + `
curl -s -H "Authorization: Bearer $(cat /run/secrets/http)" http://10.0.0.7:7070/api/v1/status
` + "```" + `

A browser on the machine reaches the loopback as well, so that a page could ask in the name of its
user. Two things prevent that, whatever the method. The host of a request has to be localhost, an
address of the loopback, the address it came to, or one of ` + "`http-hosts`" + `: behind a proxy or a
service of Kubernetes, name what it is called by. And a request with an Origin has to come from
that same host, and one with Sec-Fetch-Site from the same origin. Probes (` + "`/healthz`, `/readyz`" + `) are answered whoever asks.

A program may have pages (` + "`App.Pages`" + `), which are answered at ` + "`/`" + ` where nothing of the daemon is. They
are files of the program and no secret, so where there is a token they are shown without it: a
browser that opens an address cannot send one. What a page then asks the API for takes the token,
which an ` + "`EventSource`" + ` cannot send either: either the page asks its user for it and reads by ` + "`fetch`" + `,
or a proxy that knows its users adds it. A page is told by ` + "`Content-Security-Policy`" + ` to ask nobody but
this daemon, and is kept in no cache. A link of another site may lead to one (Sec-Fetch-Mode navigate,
Sec-Fetch-Dest document); nothing but a page is opened so, and no other site can show one in itself.

There is no TLS: where others listen on the network, put a proxy in front.

## Routes

| | | |
|---|---|---|
`)
	for _, r := range routes {
		path := r.pattern
		if len(r.params) > 0 {
			path += "?" + strings.Join(r.params, "=&") + "="
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s |\n", r.method, path, r.summary)
	}
	fmt.Fprintf(&b, `
Lists are cut at %d entries, or at `+"`limit`"+`, which is %d at the most; `+"`next`"+` of a list of streams is
what to give as `+"`after`"+`. Events are cut at about 8 MiB of payloads too; their `+"`next`"+` is what to
give as `+"`from`"+`. Names in paths are percent-encoded, a slash as %%2F. A body is JSON of 1 MiB
at the most. What a route does not know, in the query or in the body, is an error. What a command
wants `+"`--yes`"+` for wants `+"`\"confirm\": true`"+` in the body.

`+"`/readyz`"+` is 503 while something keeps the daemon from working, with each as a reason: `+"`connecting`"+` (the
namespace is not open yet), `+"`starting`"+` (the worker has not begun), `+"`redis`"+` (it does not answer),
`+"`paused`"+` (a projection rests because a backend is in trouble), `+"`draining`"+` (it was told to stop; it goes on
answering until it has given back everything). A parked stream is no reason, nor is being behind.

## Events as they come

Two routes answer with server-sent events, and stay open until the stream, the client or the daemon
ends them: the events of a stream, and the changes of a read model.
[Delta streams](../guides/delta-streams.md) goes through both.

| | events of a stream | changes of a read model |
|---|---|---|
| `+"`id`"+` | the version of the event | for the server alone |
| begins with | the first event, version N by `+"`?from=N`"+`, what comes by `+"`?from=end`"+` | what the read model does not show yet |
| `+"`event`"+` | `+"`event`"+`: the event, as `+"`streams show -o json`"+` has it | `+"`change`"+`: `+"`projection`, `generation`, `stream`, `version`, and `parked` where it stands there"+` |
| `+"`reset`"+` | `+"`reason`"+` `+"`truncated`, `regressed` or `late`, and `first`"+` | `+"`reason`"+` `+"`trimmed`, `promoted` or `late`, `projection`, `generation`, `text`"+` |
| `+"`end`"+` | `+"`reason`"+` `+"`deleted`, `tombstoned` or `unreadable`, `version`, `text`, `by`, `time`"+` | |

The header `+"`Last-Event-ID`"+` has the id of the last event that the client was told, and what comes later is
told then; a browser's EventSource sends it by itself when it connects again. A `+"`reset`"+` says that what
was told before does not lead up to what follows. A line `+"`: keep-alive`"+` comes every 15 seconds, which
clients pass over. Who reads too slowly is dropped, and goes on by `+"`Last-Event-ID`"+`. A stream that ended,
asked for by a client that was told so, is answered with 204, and an EventSource stays away.

## Errors

The body of an error is `+"`{\"error\": \"…\", \"code\": N}`"+`, where the code is the
[exit code](commands.md#exit-codes) of the command that does the same.

| status | code | |
|---|---|---|
`, usualLimit, mostLimit)
	for _, code := range slices.Sorted(maps.Keys(statuses)) {
		fmt.Fprintf(&b, "| %d | %d | %s |\n", statuses[code], code, statusMeanings[code])
	}
	fmt.Fprintf(&b, "| %d | %d | something is not as it has to be: another version of the stream, a generation that is not built |\n", http.StatusConflict, exitFailed)
	for _, r := range []struct {
		status int
		means  string
	}{
		{http.StatusUnauthorized, "the token is missing or wrong"},
		{http.StatusForbidden, "the request comes from another origin"},
		{http.StatusMethodNotAllowed, "the route has other methods, which Allow lists"},
		{http.StatusRequestTimeout, "the body did not come in time"},
		{http.StatusRequestEntityTooLarge, "the body is larger than 1 MiB"},
		{http.StatusUnsupportedMediaType, "the body is not application/json"},
		{http.StatusMisdirectedRequest, "the host is not one of http-hosts"},
	} {
		fmt.Fprintf(&b, "| %d | %d | %s |\n", r.status, exitUsage, r.means)
	}
	return b.String()
}

// statusMeanings says what the exit codes mean to who asks by HTTP.
var statusMeanings = map[int]string{
	exitFailed:      "it failed; the error says why, or the log of the daemon",
	exitUsage:       "the request is wrong; nothing was done",
	exitUnconfirmed: "`\"confirm\": true` is missing; nothing was done, and the error says what would be",
	exitAbsent:      "what was asked for is not there",
	exitUnavailable: "Redis or Postgres is out of reach, or not connected to yet",
	exitLate:        "it did not happen in time",
}
