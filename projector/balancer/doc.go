// Package balancer hands streams out to workers, and does nothing else: it reads no data,
// and knows no events, checkpoints or projections. It is for programs that have streams of
// their own, in Redis or anywhere, and want each to be one process's at a time.
//
// Whoever has a stream to be worked on announces it, with some bytes for who gets it:
//
//	b, err := balancer.Open(ctx, client, balancer.Config{Namespace: "sessions"})
//	err = b.Announce(ctx, balancer.Announcement{Stream: "user-7", Info: []byte(`{"priority":"high"}`)})
//
// A process that works joins, and is told by a channel what it has:
//
//	w, err := b.Join(ctx, balancer.WorkerConfig{Capacity: 100})
//	defer w.Close(context.Background())
//	for n := range w.Notifications() {
//		switch n.Kind {
//		case balancer.Assigned:
//			go work(w.Context(n.Assignment), w, n.Assignment) // ends with w.Finish(ctx, n.Assignment)
//		case balancer.Disowned:
//			log.Print("lost ", n.Stream, ": ", n.Err) // its context has ended
//		case balancer.Terminated:
//			log.Print("closed: ", n.Err)
//		}
//	}
//
// # What is promised
//
// A stream that was announced is some worker's, or waits for one, until it is finished by
// [Worker.Finish]. Nothing else ends it: not the death of a worker, not [Worker.Close],
// [Worker.Drain] or [Worker.HandBack], which give it to others with the same Info. A stream
// that is announced while a worker has it is assigned to it again when it finishes.
//
// What a worker was asked to finish or hand back it goes on with as long as its session
// lives, whether Redis answers or not; a caller whose context ends only stops waiting.
//
// A stream is one worker's at a time, as far as workers can know: one that cannot reach
// Redis takes its streams for lost, and is told, before the others can have them. A process
// that is stuck in the middle of something cannot know it; [Worker.Holds] knows at once when
// it goes on, a context of [Worker.Context] ends a moment later, and Assignment.Token is what
// makes a late write fail where it is compared. So work can be done twice in part, and who needs
// effects that count once compares tokens, or uses projector, which does it with checkpoints.
//
// # Lanes
//
// [OpenLanes] gives streams priorities: a worker of [Lanes] shares its capacity among them, so
// that urgent ones do not wait behind others, and none waits for ever.
//
// # Ends
//
// The channel never blocks whoever fills it, so no shutdown waits for a reader: every
// stream that a worker takes on has two places in it. Close gives everything back, to others
// at once, takes back what was not read, says [Terminated] and closes the channel. Drain
// waits for the streams under way before that. Both can be called at any time, at the same
// time and again, also while Redis does not answer: then they take at most a TTL and a
// second, and the others wait for the TTL.
//
// # Deaths
//
// All streams of a worker live with its session, which one heartbeat keeps for all of them.
// When it has missed its deadline, the TTL, the others find it by looking: they depend on
// no notification of Redis and no setting of it. What they take over is assigned to them,
// or, with WorkerConfig.OfferExpired, offered by [Expired] and taken by [Worker.Claim].
//
// It is made of [github.com/projectord/projectord/projector/lease], where the protocol is
// told. The guide docs/guides/balancer.md compares it with another client.
package balancer
