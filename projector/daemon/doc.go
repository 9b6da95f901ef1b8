// Package daemon gives a program with projections of its own the whole command line
// of projectord, in one line of its main:
//
//	func main() {
//		daemon.Main(daemon.App{
//			Name: "shop",
//			Projections: []daemon.Projection{
//				daemon.Keep(shop.Current(events), daemon.InHashes("cart:current")),
//				daemon.Keep(shop.Products(events), daemon.InRows(columns...)),
//			},
//		})
//	}
//
// The program then runs workers, tells how they stand, and does what is decided about
// streams, generations and parked streams; shop -h lists it all. The program
// cmd/projectord is that without projections: what can be known of a namespace
// without their code it knows too.
//
// # Reading the source
//
//   - app.go is what a program says about itself, sinks.go where read models can be.
//   - settings.go is the one table of settings, config.go brings together what flags,
//     environment, file and defaults say of them, flags.go makes the flags, values.go has
//     their types, and redact.go keeps secrets out of what is printed.
//   - exit.go lists the exit codes, and makes the errors that lead to them.
//   - root.go is the command line, output.go prints a value in the form asked for, and
//     space.go opens the namespace that a command works on.
//   - http.go is the server and its life, http_handle.go the way of every request,
//     http_guard.go who is answered, http_routes.go the table of routes, http_answer.go
//     what errors are in HTTP, http_files.go the pages that a program has, http_ready.go and http_metrics.go what probes and Prometheus
//     are told. http_reads.go and http_changes.go are the calls of the API, and openapi.yaml
//     describes them.
//   - sse.go tells clients of a server what happens, as it does: sse_events.go of streams,
//     sse_changes.go of read models. sse_lookout.go finds out for all of them together
//     whether there is anything new.
//   - systemd.go tells the manager of services how it stands, traces.go has spans sent.
//   - dev.go runs everything in one process. doctor.go looks for what is wrong: the files
//     named after it have the checks, doctor_patient.go what they look at.
//   - telling.go has a running worker log how it stands.
//   - Every command has a file, named after it. commands.go is what a program makes
//     commands of its own with.
package daemon
