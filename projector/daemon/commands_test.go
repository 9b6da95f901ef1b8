package daemon

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/internal/testenv"
)

// heads is what the program's own command of the test prints.
type heads struct {
	Streams     int      `json:"streams"`
	Projections []string `json:"projections"`
}

func (h heads) Show(w io.Writer) { fmt.Fprintf(w, "%d streams of <%s>\n", h.Streams, h.Projections) }

// withCommand returns the shop with a command of its own, which counts streams.
func withCommand() App {
	app := shopApp(1)
	app.Commands = func(k *Kit) []*cobra.Command {
		count := func(ctx context.Context, at *Space, args []string) error {
			switch args[0] {
			case "what":
				return Usage("there is no category %q", args[0])
			case "order":
				return Absent("there are no orders in %s", at.Namespace)
			}
			v := heads{}
			for _, err := range at.Store.Streams(ctx, args[0]) {
				if err != nil {
					return err
				}
				v.Streams++
			}
			all, err := at.Assignments(ctx)
			for _, a := range all {
				v.Projections = append(v.Projections, a.Projection.Name())
			}
			if err != nil {
				return err
			}
			return k.Print(v)
		}
		begin := func(ctx context.Context, at *Space, _ []string) error {
			a, err := at.Assignment(ctx, "carts")
			if err == nil {
				fmt.Fprintf(k.Out(), "%s in %d partitions, a worker of %d logs\n", a.Projection.Name(), at.Partitions, at.Operator.Log.Partitions())
			}
			return err
		}
		return []*cobra.Command{
			{Use: "count CATEGORY", Short: "Count streams", Args: Arguments("CATEGORY"), ValidArgs: []string{"cart", "order"}, RunE: k.On(count)},
			{Use: "begin", Short: "Create the namespace", Args: Arguments(), RunE: k.OnNew(begin)},
		}
	}
	return app
}

// Commands of the program's own have the settings, the forms and the exit codes of all.
func TestOwnCommands(t *testing.T) {
	t.Parallel()
	f := bare(t, withCommand())
	f.want(exitDone, words("-h"), "count ", "Count streams")
	f.want(exitDone, words("__complete count o"), "order\n:4")
	f.want(exitAbsent, words("count cart"), "there is no such namespace")
	f.with(env("partitions")+"=3").want(exitDone, words("begin"), "carts in 3 partitions, a worker of 3 logs")
	f.want(exitDone, words("count cart"), "0 streams of <[carts items]>")
	f.wantValue("items", exitDone, "count cart", "projections.1")
	f.want(exitDone, words("count cart -o yaml"), "streams: 0\n")
	f.want(exitUsage, words("count what"), `there is no category "what"`, "shop count -h tells how it is used")
	f.want(exitUsage, words("count"), "CATEGORY is missing")
	f.want(exitUsage, words("count cart --redis-url what"), "--redis-url")
	f.want(exitAbsent, words("count order"), "there are no orders in "+f.namespace)
	f.with(env("redis-url")+"=redis://127.0.0.1:1").want(exitUnavailable, words("count cart"), "is the server running")
}

// A command of the program's own takes no other's place.
func TestOwnCommandsOfTakenNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		own   []*cobra.Command
		taken string
	}{
		{[]*cobra.Command{{Use: "status"}}, "status"},
		{[]*cobra.Command{{Use: "dev CATEGORY"}}, "dev"},
		{[]*cobra.Command{{Use: "help"}}, "help"},
		{[]*cobra.Command{{Use: "completion"}}, "completion"},
		{[]*cobra.Command{{Use: "count", Aliases: []string{"run"}}}, "run"},
		{[]*cobra.Command{{Use: "count A"}, {Use: "count B"}}, "count"},
		{[]*cobra.Command{{Use: "count", Aliases: []string{"sum"}}, {Use: "sum"}}, "sum"},
	} {
		app := shopApp(1)
		app.Commands = func(*Kit) []*cobra.Command { return c.own }
		for _, args := range []string{"config print", "-h", c.taken} {
			(&fixture{T: t, app: app}).want(exitUsage, words(args), fmt.Sprintf("App.Commands has a command %q", c.taken))
		}
	}
}

// Two projections of one name are an error of usage, before anything is connected to.
func TestProjectionsOfOneName(t *testing.T) {
	t.Parallel()
	twice, dev := shopApp(1), shopApp(1)
	twice.Projections = append(twice.Projections, twice.Projections[0])
	dev.Dev = &Dev{Projections: twice.Projections}
	for _, app := range []App{twice, dev} {
		for _, args := range []string{"config validate", "run", "dev"} {
			(&fixture{T: t, app: app}).want(exitUsage, words(args), `the program has two projections "carts"`)
		}
	}
}

// What is kept in Postgres is left out where none is named, if the program says so, and
// what it needs is not forgotten.
func TestWhereGiven(t *testing.T) {
	t.Parallel()
	app := shopApp(1)
	app.Projections[1] = tablesApp().Projections[1].WhereGiven()
	f := bare(t, app)
	f.store()
	f.append("cart-1", "tea", 2)
	f.append("cart-1", "tea", 1)
	log := f.work(f.says("tea    3", "get", "carts", "1"))
	if !strings.Contains(log, "left out") || !strings.Contains(log, "projections=items") {
		t.Errorf("the worker does not log what it leaves out: %s", log)
	}
	f.want(exitDone, words("status"), "carts       1")
	f.want(exitUsage, words("get items tea"), "it is kept in Postgres, and none is named")
	f.want(exitUsage, words("run --only items"), "it is kept in Postgres, and none is named")
	f.want(exitDone, words("retention apply --yes"), "0 events of 0 streams removed")

	with := f.with(env("postgres-url") + "=" + testenv.Postgres(t))
	if log := with.work(with.says("qty    3", "get", "items", "tea")); strings.Contains(log, "left out") {
		t.Errorf("the worker leaves out what it has: %s", log)
	}
	with.want(exitDone, words("retention apply --yes"), "1 stream with events that are not wanted, but needed")
	f.want(exitUsage, words("retention apply --yes"), "what items needs is in Postgres, and none is named, so nothing is removed", env("postgres-url"))
	f.want(exitDone, words("status"), "items       1")

	app.Projections = app.Projections[1:]
	f.as(app).want(exitUsage, words("run"), "projections items: it is kept in Postgres")
}
