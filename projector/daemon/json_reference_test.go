package daemon

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// printed are what commands print with -o json that no route of HTTP answers with: those
// are in openapi.yaml.
var printed = []struct {
	commands string
	view     any
}{
	{"adopted ls", adoptedListView{}},
	{"audit", auditsView{}},
	{"config print", configView{}},
	{"doctor", doctorView{}},
	{"migrate up`, `migrate status", migrationsView{}},
	{"projections verify", verifyView{}},
	{"projections heal`, `adopted retry`, `adopted skip`, `streams delete`, `config validate", done{}},
	{"retention show", rulesView{}},
	{"retention apply", retentionView{}},
	{"retention forced", forcedListView{}},
	{"snapshots ls", keptListView{}},
	{"snapshots verify", snapshotsListView{}},
	{"snapshots drop", droppedView{}},
	{"streams truncate", truncatedView{}},
	{"version", versionView{}},
}

// printedFields says what the fields are, by the command that is first above, or * where it
// is the same for all.
var printedFields = map[string]string{
	"*.projection": "name of the projection",
	"*.generation": "number of the generation",
	"*.stream":     "the stream, `cart-42`",
	"*.error":      "why, in words",
	"*.reason":     "why, in words",

	"adopted ls.source":         "name of the source",
	"adopted ls.key":            "the key, in the Redis of the source",
	"adopted ls.position":       "id of the last entry that is done with, `0-0` where there is none",
	"adopted ls.behind":         "entries that are not adopted yet; left out where that is not known",
	"adopted ls.lost":           "entries that were gone before they were adopted; left out where that is not known",
	"adopted ls.state":          "`reading`, `parked` or `gone`",
	"adopted ls.entry":          "id of the entry it is parked at",
	"adopted ls.since":          "when it was parked",
	"adopted ls.fields":         "the fields of that entry, shortened where they are long",
	"adopted ls.fields[].name":  "name of the field",
	"adopted ls.fields[].value": "its value",

	"audit.streams":            "streams that were looked at",
	"audit.events":             "events that were read",
	"audit.behind":             "streams with events that are not applied yet",
	"audit.parked":             "streams that are parked",
	"audit.wrong":              "streams that something is wrong with",
	"audit.healed":             "streams that nobody worked on, and that were announced to the workers",
	"audit.findings":           "what is wrong, up to `--list`",
	"audit.findings[].version": "version that it is about",
	"audit.findings[].reason":  "the kind of trouble: `regressed`, `forked`, `hole in the stream`, `unowned` and so on",

	"config print.name":  "name of the setting",
	"config print.value": "what it is; `xxxxx` in place of secrets",
	"config print.from":  "where that comes from: a flag, a variable, a file or `default`",
	"config print.env":   "the variable that sets it",
	"config print.help":  "what it means",

	"doctor.namespace":           "the namespace",
	"doctor.healthy":             "there are neither errors nor warnings",
	"doctor.checks":              "checks that were made",
	"doctor.errors":              "findings that are errors",
	"doctor.warnings":            "findings that are warnings",
	"doctor.findings":            "what was found, the worst first",
	"doctor.findings[].severity": "`error`, `warning` or `info`",
	"doctor.findings[].check":    "name of [the check](doctor.md)",
	"doctor.findings[].subject":  "what it is about: a server, a group, a table, a file",
	"doctor.findings[].finding":  "what is wrong, in words",
	"doctor.findings[].evidence": "what was measured",
	"doctor.findings[].fix":      "the exact thing to do",
	"doctor.not_made":            "checks for which something is missing that they look at",
	"doctor.not_made[].check":    "name of the check",
	"doctor.not_made[].why":      "what is missing",
	"doctor.passed":              "checks that found nothing, with `--all`",
	"doctor.passed[].check":      "name of the check",
	"doctor.passed[].looks_at":   "what it looked at",

	"migrate up.schema":               "the schema in Postgres",
	"migrate up.missing":              "migrations that are not applied",
	"migrate up.migrations":           "all there are",
	"migrate up.migrations[].version": "its number",
	"migrate up.migrations[].file":    "its file",
	"migrate up.migrations[].applied": "when it was applied",

	"projections verify.with":                  "the generation it is compared with, 0 for the events",
	"projections verify.compared":              "documents or rows that were compared",
	"projections verify.different":             "how many of them differ, ignored fields aside",
	"projections verify.healed":                "how many of those were made anew",
	"projections verify.fields":                "in how many each field differs, ignored ones too",
	"projections verify.apart":                 "streams that were not compared, because they stand at different events on both sides",
	"projections verify.halted":                "streams that were not compared, because their events cannot be folded to where they stand",
	"projections verify.parked":                "streams that are parked; they were compared where they stand",
	"projections verify.undefined":             "columns left out, because they depend on which stream came first",
	"projections verify.removed":               "streams behind rows that were deleted and have lost their events",
	"projections verify.differences":           "what differs, up to `--list`",
	"projections verify.differences[].row":     "key of the row, where it is one",
	"projections verify.differences[].version": "version at which the documents were compared",
	"projections verify.differences[].missing": "where it is missing, if it is",
	"projections verify.differences[].fields":  "by field, the value in `generation` and the one it is compared with; null where there is none",
	"projections verify.reasons":               "why streams are parked or cannot be folded, ten of each",

	"projections heal.message": "what was done",
	"projections heal.version": "version of the stream that it was done at",
	"projections heal.next":    "the command to go on with",

	"retention show.category":    "category of the streams",
	"retention show.max_count":   "how many of the newest events are wanted",
	"retention show.max_age":     "how old wanted events are at the most, such as `720h0m0s`",
	"retention show.before":      "first version that is wanted",
	"retention show.idle":        "after how long without an event a stream is deleted",
	"retention show.approximate": "some more events may be kept, where that saves work",

	"retention apply.preview":               "nothing was removed: it is what `--yes` would do",
	"retention apply.streams":               "streams that were looked at",
	"retention apply.cut":                   "streams that events were removed from",
	"retention apply.events":                "events that were removed",
	"retention apply.deleted":               "streams that were deleted because they were idle",
	"retention apply.held":                  "streams with events that are not wanted, but needed",
	"retention apply.held_streams":          "those, up to `--list`",
	"retention apply.held_streams[].wanted": "first version that is wanted",
	"retention apply.held_streams[].needed": "first version that is needed",
	"retention apply.held_streams[].by":     "who needs it, in words",

	"retention forced.before": "first version that was left",
	"retention forced.at":     "when it was decided",
	"retention forced.by":     "by whom",
	"retention forced.reason": "why, as it was given",
	"retention forced.needed": "who needed what was removed",

	"snapshots ls.snapshots":           "the snapshots, up to `--limit`",
	"snapshots ls.snapshots[].version": "version of the stream that it was made at",
	"snapshots ls.snapshots[].schema":  "version of the code that made it",
	"snapshots ls.snapshots[].bytes":   "size of the state",
	"snapshots ls.snapshots[].stored":  "size of what is kept of it",
	"snapshots ls.snapshots[].error":   "why it cannot be read",
	"snapshots ls.total":               "how many there are",

	"snapshots verify.snapshots":          "snapshots that were looked at",
	"snapshots verify.good":               "those that are what the events add up to",
	"snapshots verify.outdated":           "those of code of another version",
	"snapshots verify.unproven":           "those that stand for events that were removed, which nothing can prove",
	"snapshots verify.bad":                "those that differ",
	"snapshots verify.dropped":            "those that were deleted",
	"snapshots verify.findings":           "those that differ, up to `--list`",
	"snapshots verify.findings[].version": "version of the stream that it was made at",
	"snapshots verify.findings[].outcome": "one word: `wrong`, `corrupt`, `forked` and so on",
	"snapshots verify.findings[].stored":  "the state in the snapshot",
	"snapshots verify.findings[].folded":  "the state that the events add up to",

	"snapshots drop.dropped": "snapshots that were deleted",

	"streams truncate.removed": "events that were removed",
	"streams truncate.first":   "version of the first event that is left",

	"version.name":     "name of the program",
	"version.version":  "version of the module, `(devel)` where it is built from a clone",
	"version.revision": "the commit it was built from",
	"version.go":       "the release of Go",
	"version.platform": "operating system and processor",
}

// jsonReference is made of the types of what is printed. It reports fields that nothing is
// said of.
func jsonReference(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(madeBy + `# JSON

With ` + "`-o json`" + ` every command prints an object, or a list of objects; with ` + "`-o yaml`" + ` the same as
YAML. Those that HTTP answers with too are described in
[openapi.yaml](../../projector/daemon/openapi.yaml), by [route](http.md#routes): ` + "`status`, `logs`, `workers ls` and `pending`,\n`streams ls`, `streams show` (`streams tail` prints an event of it per line), `streams append`,\n`projections ls` and `show`, what begins and promotes generations, `get`, `wait`, `parked`" + `. The others
are here.

A field that says *may be left out* is left out where it is empty or 0. More fields
may come later. Times are like ` + "`2026-11-21T18:54:34Z`" + `, in UTC. The exit code says
whether something is wrong, and an error goes to the standard error as text.
`)
	for _, p := range printed {
		first, _, _ := strings.Cut(p.commands, "`")
		of := reflect.TypeOf(p.view)
		list := ""
		if of.Kind() == reflect.Slice {
			of, list = of.Elem(), "A list of:\n\n"
		}
		fmt.Fprintf(&b, "\n## `%s`\n\n%s| field | type | |\n|---|---|---|\n", p.commands, list)
		describeJSON(t, &b, first, "", of)
	}
	return b.String()
}

// describeJSON writes a row for each field of a type, and for those of the types in it.
func describeJSON(t *testing.T, b *strings.Builder, command, path string, of reflect.Type) {
	t.Helper()
	for _, field := range reflect.VisibleFields(of) {
		name, options, tagged := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" || !field.IsExported() {
			continue
		}
		says, found := printedFields[command+"."+path+name]
		if !found {
			says, found = printedFields["*."+name]
		}
		if !found {
			t.Errorf("%s prints %s%s: say in printedFields what that is", command, path, name)
		}
		if tagged && strings.HasPrefix(options, "omit") {
			says += "; may be left out"
		}
		fmt.Fprintf(b, "| `%s%s` | %s | %s |\n", path, name, jsonType(field.Type), says)
		if field.Type.Kind() == reflect.Slice && field.Type.Elem().Kind() == reflect.Struct {
			describeJSON(t, b, command, path+name+"[].", field.Type.Elem())
		}
	}
}

// jsonType is what a type is in JSON, in words.
func jsonType(of reflect.Type) string {
	switch of.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "boolean"
	case reflect.Slice:
		if of.Elem().Kind() == reflect.Struct {
			return "list of objects"
		}
		return "list of " + jsonType(of.Elem()) + "s"
	case reflect.Array:
		return fmt.Sprintf("list of %d %ss", of.Len(), jsonType(of.Elem()))
	case reflect.Map:
		return "object of " + jsonType(of.Elem()) + "s"
	case reflect.Pointer:
		return jsonType(of.Elem())
	case reflect.Struct:
		if of == reflect.TypeFor[time.Time]() {
			return "time"
		}
		return "object"
	}
	return "number"
}
