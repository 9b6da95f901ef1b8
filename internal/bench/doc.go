// Package bench measures how fast projectord is, and how fast it could be: each path beside
// a limit that is taken right before or after it, on the same servers. It is what
// `projectord bench` runs.
//
// A [row] says what is measured and what that is held against; rows are made in the files
// rows_*.go, and listed by catalogue. [Run] measures them in rounds: in each, every
// [measure] is taken once, and a limit again for every two that are held against it, right
// before or after it, in an order that is turned around from round to round, so that a
// machine that slows down slows both. The first round is thrown away. What is reported are
// medians over the rounds.
//
// The files: bench.go is what the command calls, rounds.go measures, report.go sums up, and
// lab.go has the servers. carts.go are the events that are read, lines.go what is made of
// them, and build.go, live.go, processes.go (of child.go) and weigh.go what is done with
// them. clock.go and pace.go time. Limits are in the rows_*.go beside what they are held
// against; the longer ones are copy.go and package socket.
//
// To add a row, write a function that does the work between two calls of a clock
// ([lab.rate] has one), make a measure of it, and a row of that. It gets what it needs of
// the lab: clients, namespaces of its own ([lab.scratch]), and what several share
// ([shared]), which is made once and before the clock runs.
package bench
