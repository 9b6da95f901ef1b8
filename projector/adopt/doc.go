// Package adopt makes events of what other programs write by plain XADD, in any language:
//
//	XADD leads * event_type lead.created lead_id 101 created_by shaon
//
// A [Source] says which keys are read and what a decoder makes of an entry: events of
// streams of the event store, as a rule one stream for each entity that the entries are
// about. They are appended exactly once, and those of one key in the order of its entries.
// From there on they are events as any others: workers share them by entity, checkpoints
// are dense versions, and a rebuild needs nothing of what the other program has trimmed
// since.
//
// # Exactly once
//
// Every adopted event says in its metadata which entry of which key it was made of. So a
// stream itself knows how far each key was adopted into it. An [Adopter] appends at the
// exact version up to which it knows that ([eventstore.Exact]); where somebody else was
// there meanwhile, it reads what was appended and leaves out what is there. Neither a
// process that is killed between append and position, nor one that goes on though another
// has taken its place, can double an event. Positions only save reading again.
//
// # What is weaker
//
// Redis tells nobody which entries a producer has trimmed or deleted. Those that go before
// they are adopted are lost, and are counted where the server counts what was added (Redis
// 7). Entries of different keys have no order between them.
package adopt
