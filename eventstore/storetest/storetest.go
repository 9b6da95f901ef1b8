// Package storetest is the suite that every backend of [eventstore.Store]
// passes. A new backend is a directory and a test like this one:
//
//	func TestConformance(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) eventstore.Store { … }, storetest.Features{})
//	}
//
// Subtests that show one of the numbered behaviours projectord promises under
// faults carry its number in their names, as in Scenario18.
package storetest

import (
	"testing"

	"github.com/projectord/projectord/eventstore"
)

// Features says in what a backend differs from what the suite takes for
// granted. The zero Features is a complete store on a server of its own. What a
// feature rules out is left out of the tests, which say so.
type Features struct {
	// InProcess is set where the server runs inside the test process: then
	// the memory a read takes cannot be told from the memory the events take.
	InProcess bool
}

// suite is what the tests of one run share.
type suite struct {
	newStore func(*testing.T) eventstore.Store
	features Features
}

// Run runs the suite. Every subtest gets a store of its own from newStore: an
// empty one, whose keys or schema no other store has. Stores may share a server,
// and subtests run in parallel.
func Run(t *testing.T, newStore func(t *testing.T) eventstore.Store, features Features) {
	s := &suite{newStore: newStore, features: features}

	// This one measures memory, so nothing runs beside it.
	t.Run("Scenario22/LongStreamInBoundedMemory", s.longStreamInBoundedMemory)

	s.group(t, "Append", map[string]func(*testing.T, eventstore.Store){
		"Scenario18/ExpectedVersionMatrix":     s.expectedVersionMatrix,
		"Scenario18/ExactBeyondRangeIsNotAny":  s.exactBeyondRangeIsNotAny,
		"VersionsAreDense":                     s.versionsAreDense,
		"EventsComeBackAsTheyWere":             s.eventsComeBackAsTheyWere,
		"UnsetFieldsAreFilledIn":               s.unsetFieldsAreFilledIn,
		"ManyHaveTheirOwnOutcomes":             s.manyHaveTheirOwnOutcomes,
		"ManyToOneStreamKeepTheirOrder":        s.manyToOneStreamKeepTheirOrder,
		"ManyOfNothing":                        s.manyOfNothing,
		"Scenario21/ConflictWritesNothing":     s.conflictWritesNothing,
		"ContextEndedBefore":                   s.appendContextEndedBefore,
		"Scenario23/HostilePayloadsAreOpaque":  s.hostilePayloadsAreOpaque,
		"Scenario23/BadPayloadNamesItsVersion": s.badPayloadNamesItsVersion,
	})
	s.group(t, "Remove", map[string]func(*testing.T, eventstore.Store){
		"Scenario18/EndingMatrix":            s.endingMatrix,
		"EndsAreEvents":                      s.endsAreEvents,
		"ManyLives":                          s.manyLives,
		"Scenario20/RepeatedInASecondLife":   s.repeatedInASecondLife,
		"Scenario20/OnlyBehindADeletion":     s.onlyBehindADeletion,
		"Scenario20/RepeatedAfterTombstone":  s.repeatedAfterTombstone,
		"OwnTypesAreRefused":                 s.ownTypesAreRefused,
		"BadEndsAreRefused":                  s.badEndsAreRefused,
		"Truncate":                           s.truncate,
		"TruncateLeavesTheLastEvent":         s.truncateLeavesTheLastEvent,
		"TruncateApproximately":              s.truncateApproximately,
		"Scenario22/ReadWhatWasTruncated":    s.readWhatWasTruncated,
		"Scenario22/ReadBeginsWithTheEnd":    s.readBeginsWithTheEnd,
		"Scenario22/TruncatedBetweenPages":   s.truncatedBetweenPages,
		"Scenario20/AppendToWhatIsTruncated": s.appendToWhatIsTruncated,
	})
	s.group(t, "Idempotency", map[string]func(*testing.T, eventstore.Store){
		"Scenario20/SamePlaceIsDuplicate":         s.samePlaceIsDuplicate,
		"Scenario20/AnotherPlaceIsConflict":       s.anotherPlaceIsConflict,
		"Scenario20/PartOfBatchIsConflict":        s.partOfBatchIsConflict,
		"Scenario20/DuplicateBehindLaterEvents":   s.duplicateBehindLaterEvents,
		"Scenario20/DuplicateKeepsWhatWasStored":  s.duplicateKeepsWhatWasStored,
		"Scenario20/SameIDInAnotherStream":        s.sameIDInAnotherStream,
		"Scenario20/TwiceInOneCall":               s.twiceInOneCall,
		"Scenario19/RepeatedByManyIsStoredOnce":   s.repeatedByManyIsStoredOnce,
		"Scenario19/LargeCallRepeatedByItsEvents": s.largeCallRepeated,
	})
	s.group(t, "Read", map[string]func(*testing.T, eventstore.Store){
		"Scenario22/Ranges":               s.ranges,
		"Scenario22/NoSuchStream":         s.noSuchStream,
		"Scenario22/SeveralPages":         s.severalPages,
		"Scenario22/LargeEvents":          s.largeEvents,
		"Scenario22/WhileAppendedTo":      s.whileAppendedTo,
		"Scenario22/StopsWhenTheLoopDoes": s.stopsWhenTheLoopDoes,
		"EventsAreTheCallers":             s.eventsAreTheCallers,
		"ContextEnds":                     s.readContextEnds,
		"Head":                            s.head,
	})
	s.group(t, "ReadMany", map[string]func(*testing.T, eventstore.Store){
		"Scenario22/ManyStreams":      s.manyStreams,
		"Scenario22/FromVersions":     s.fromVersions,
		"Scenario22/ALongOneAmong":    s.aLongOneAmong,
		"Nothing":                     s.readNothing,
		"SameStreamTwice":             s.sameStreamTwice,
		"FailedVisitEndsItsReadAlone": s.failedVisitEndsItsReadAlone,
		"ClonesOutliveTheVisit":       s.clonesOutliveTheVisit,
		"VisitsDoNotOverlap":          s.visitsDoNotOverlap,
		"ContextEnds":                 s.readManyContextEnds,
	})
	s.group(t, "Streams", map[string]func(*testing.T, eventstore.Store){
		"AllOfACategoryWithHeads": s.allOfACategoryWithHeads,
		"OtherCategoriesStayOut":  s.otherCategoriesStayOut,
		"WhileBeingAdded":         s.whileBeingAdded,
		"StopsWhenTheLoopDoes":    s.streamsStopsWhenTheLoopDoes,
		"BadCategory":             s.badCategory,
		"ContextEnds":             s.streamsContextEnds,
	})
	s.group(t, "Concurrency", map[string]func(*testing.T, eventstore.Store){
		"Scenario18/64WritersAreLinearizable": s.writersAreLinearizable,
		"Scenario18/OneOfManyWins":            s.oneOfManyWins,
	})
	s.group(t, "Limits", map[string]func(*testing.T, eventstore.Store){
		"Refused":                           s.refused,
		"Scenario21/OneBadEventStopsItsOwn": s.oneBadEventStopsItsOwn,
		"LargestEvent":                      s.largestEvent,
		"MostEvents":                        s.mostEvents,
	})
	s.group(t, "Names", map[string]func(*testing.T, eventstore.Store){
		"HostileIDs":          s.hostileIDs,
		"NoIDHidesAnother":    s.noIDHidesAnother,
		"HostileTypesAndText": s.hostileTypesAndText,
	})
}

// group runs the tests of one topic, in parallel, each with a store of its own.
func (s *suite) group(t *testing.T, topic string, tests map[string]func(*testing.T, eventstore.Store)) {
	for name, test := range tests {
		t.Run(topic+"/"+name, func(t *testing.T) {
			t.Parallel()
			test(t, s.newStore(t))
		})
	}
}
