package daemon

import (
	"fmt"
	"strings"
)

// doctorReference is made of the table of checks.
func doctorReference() string {
	var b strings.Builder
	b.WriteString(madeBy + `# What doctor looks at

` + "`doctor`" + ` looks at the servers, at the work in the namespace and at the settings, and says
what is wrong: what was found, what was measured, and what to do. It writes nothing, walks
no keys, and reads samples of bounded size. [Commands](commands.md#doctor) says how it is
called.

The names of the checks do not change, so that a script can wait for one:

` + "```sh\nprojectord doctor -o json | jq -e '.findings | all(.check != \"parked\")'\n```" + `

| severity | means | ends with |
|---|---|---|
| error | events can get lost, work stands still, or readers see something wrong | 3 |
| warning | it works now, and will not for ever; or something could not be looked at | 0 |
| info | good to know | 0 |

The worst that a check finds stands in the table; most can find less. Where Redis is out of
reach the code is 6. A check that fails, is forbidden something, or does not end within
` + "`connect-timeout`" + ` is a finding itself. One for which there is nothing to look at, because no
Postgres is named or the namespace does not exist, is not made, and counted apart.
`)
	for _, part := range []struct {
		title string
		of    []check
	}{{"Redis", redisChecks}, {"Memory", memoryChecks}, {"The work", workChecks}, {"Postgres", postgresChecks}, {"The settings", settingsChecks}} {
		fmt.Fprintf(&b, "\n## %s\n\n| check | looks at | worst | what to do, in general |\n|---|---|---|---|\n", part.title)
		for _, c := range part.of {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", c.name, c.looks, c.worst, c.fix)
		}
	}
	b.WriteString(`
## Profiles of durability

The check ` + "`persistence`" + ` says which is in force. What is not told by INFO it learns by CONFIG
GET: ` + "`appendonly`, `appendfsync`, `save`, `min-replicas-to-write`" + `. The setting ` + "`replicas`" + ` is
that of the environment in which doctor is called, so call it in that of the workers.

| profile | is in force with | and then |
|---|---|---|
`)
	for _, row := range []struct {
		of   durability
		with string
	}{
		{profileNone, "`appendonly no` and `save \"\"`"}, {profileSnapshots, "`appendonly no` and a `save`"}, {profileUnsynced, "`appendonly yes`, `appendfsync no`"},
		{profileDev, "`appendonly yes`, `appendfsync everysec`"}, {profileDurable, "`appendonly yes`, `appendfsync always`"},
		{profileHA, "`appendonly yes`, replicas, `min-replicas-to-write` and the setting `replicas` above 0"},
		{profileUnknown, "`appendonly yes`, while CONFIG GET is refused"},
	} {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", row.of.name, row.with, row.of.survives)
	}
	return b.String()
}
