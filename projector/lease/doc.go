// Package lease shares the streams of a namespace among workers: who works on
// which one, and who takes over when a worker dies. It knows streams by name and
// head, not what is in them.
//
// Every append leaves a pointer (stream, head) in the log of the stream's
// partition. A projection generation is a consumer group of those logs, a
// [Group]; a worker opens a [Session] and joins the group as a [Member]. The
// member reads pointers, claims their streams, and settles a stream once it has
// committed everything up to its head:
//
//	log := lease.NewLog(client, lease.Config{Namespace: "projectord", Partitions: 16})
//	group, err := log.Group(ctx, "cart_current@1")
//	name, err := lease.AcquireName(ctx, client, lease.NameConfig{})
//	session, err := log.Register(ctx, lease.SessionConfig{Worker: name.String()})
//	go session.Run(ctx) // heartbeats
//	member := group.Join(session)
//	batch, err := member.Read(ctx, session.Partitions(), 100, 500*time.Millisecond)
//	claimed, err := member.Claim(ctx, lease.ByStream(batch.Pointers))
//	... fold, commit by compare-and-set ...
//	settled, err := member.Settle(ctx, settlements)
//
// # What is promised
//
// No pointer is lost: for every stream whose head is not committed there is a
// pointer that is undelivered or pending, or the stream is parked. That rests on
// the worker's part of the protocol:
//
//   - It forgets a pointer only when told [Elsewhere], [Parked] or [Gone] by a
//     claim, [Done] by a settlement or a parking, or when its session is dead.
//     After [NotMine], and for pointers that arrived while it settled, it claims
//     again.
//   - After any error, and whenever [Swept.Own] says that more is pending for it
//     than it knows of, it calls [Member.ReadPending]: a reply that was cut off
//     took pointers with it.
//   - With [ErrFenced] it forgets everything and registers a new session.
//
// What is not promised is that only one worker has a stream: a session can be
// taken for dead while its process still writes. Leases save work; what makes an
// effect count once is the compare-and-set of the commit.
//
// # Sessions
//
// A session lives as long as its heartbeats, one command per partition for all
// its leases. Its name is new for every incarnation and never used again. A
// session that missed its deadline is dead for good, and any worker's
// [Member.Sweep] takes over its pointers. Stopping a session gives them back at
// once. [Log.Drain] asks a session to end, wherever it is: its heartbeats learn of it.
//
// Every method is safe to call again when its reply was lost, and does so by
// itself while a connection or a failover may explain the failure; [Member.Read]
// is the exception, see there.
//
// # Looking after it
//
// [Group.Lag], [Group.Outstanding], [Group.Parked] and [Log.Skipped] tell how a
// group stands. [Group.Retry] and [Group.Skip] end a parking. [Log.Tend] trims the
// logs, in one process by its [Role]. A group that the server lost is made anew by
// [Log.Group], pointers that it lost by [Log.Announce].
//
// # Streams without events
//
// A registry is usually that of an event store, whose appends raise heads and leave
// pointers. Where there are no events, [Log.Enter] does both, with some bytes that are to
// be known of a stream; [Member.Entries] tells them to the session that has it, and
// [Member.Finish] takes the stream out of the registry. projector/balancer is made of that.
package lease
