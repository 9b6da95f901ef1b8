package snapshottest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/snapshots"
)

func testNothingThere(s *store) {
	s.wantNone(key("42"))
	found, failed, err := s.Load(s.Context(), nil)
	if err != nil || failed != nil || len(found) != 0 {
		s.Errorf("Load of nothing = %v, %v, %v", found, failed, err)
	}
	if failed, err := s.Save(s.Context(), nil); err != nil || failed != nil {
		s.Errorf("Save of nothing = %v, %v", failed, err)
	}
	if err := s.Delete(s.Context(), []snapshots.Key{key("42")}); err != nil {
		s.Error(err)
	}
	if err := s.Delete(s.Context(), nil); err != nil {
		s.Error(err)
	}
	for k, err := range s.Keys(s.Context(), definition) {
		s.Errorf("Keys yields %s, %v", k, err)
	}
}

func testSaveAndLoad(s *store) {
	plain, packed, empty, utc := of("plain", 7, "\x00\x80\xff\r\n"), of("packed", 8, "abc"), of("empty", 9, ""), of("utc", 1, "x")
	packed.Zstd, packed.Size = true, 1000
	utc.UTC, utc.Fingerprint, utc.Schema = true, math.MaxUint64, math.MaxInt32
	s.save(plain, packed, empty, utc)
	for _, w := range []snapshots.Snapshot{plain, packed, empty, utc} {
		s.want(w)
	}
	// In the order asked for, those that are missing among them.
	found, failed, err := s.Load(s.Context(), []snapshots.Key{packed.Key, key("none"), plain.Key})
	if err != nil || failed != nil || len(found) != 3 || !equal(found[0], packed) || found[1].Version != 0 || !equal(found[2], plain) {
		s.Errorf("Load = %+v, %v, %v", found, failed, err)
	}
}

func testOlder(s *store) {
	newer, older := of("42", 10, "newer"), of("42", 9, "older")
	s.save(newer)
	s.save(older)
	s.want(newer)
	newest := of("42", 11, "newest")
	s.save(newest)
	s.want(newest)
}

// A history that took the place of another one has a snapshot at the same version.
func testSameVersion(s *store) {
	one, other := of("42", 10, "one"), of("42", 10, "other")
	s.save(one)
	s.save(other)
	s.want(other)
}

func testVersionsAsNumbers(s *store) {
	for _, pair := range [][2]eventstore.Version{{9, 10}, {127, 128}, {255, 256}, {0x00ff, 0x0100}, {0x7fff, 0x8000}, {1<<32 - 1, 1 << 32}, {1<<53 - 2, 1<<53 - 1}} {
		id := fmt.Sprint(pair[0])
		older, newer := of(id, pair[0], "older"), of(id, pair[1], "newer")
		s.save(older)
		s.save(newer)
		s.want(newer)
		s.save(older)
		s.want(newer)
	}
}

func testOtherFold(s *store) {
	first := of("42", 10, "first")
	s.save(first)
	for name, change := range map[string]func(*snapshots.Snapshot){
		"fingerprint": func(w *snapshots.Snapshot) { w.Fingerprint++ },
		"schema":      func(w *snapshots.Snapshot) { w.Schema++ },
	} {
		older := of("42", 5, name)
		change(&older)
		s.save(older)
		s.want(older)
		s.save(first)
		s.want(first)
	}
}

func testRepeatedSave(s *store) {
	one := of("42", 10, "one")
	for range 3 {
		s.save(one)
		s.want(one)
	}
}

func testMany(s *store) {
	const n = 2500
	all := make([]snapshots.Snapshot, n)
	keys := make([]snapshots.Key, n)
	for i := range all {
		all[i] = of(fmt.Sprint(i), eventstore.Version(i+1), fmt.Sprintf("state %d", i))
		keys[n-1-i] = all[i].Key
	}
	s.save(all...)
	found, failed, err := s.Load(s.Context(), keys)
	if err != nil || failed != nil || len(found) != n {
		s.Fatalf("Load = %d, %v, %v", len(found), failed, err)
	}
	for i := range found {
		if !equal(found[i], all[n-1-i]) {
			s.Fatalf("place %d has %+v; want %+v", i, found[i], all[n-1-i])
		}
	}
}

func testLargestState(s *store) {
	large := of("large", 1, strings.Repeat("x", snapshots.MaxStateBytes))
	s.save(large)
	s.want(large)
}

// wantAlone saves a snapshot that is refused among others that are taken.
func (s *store) wantAlone(bad snapshots.Snapshot) error {
	s.Helper()
	before, after := of("before", 1, "before"), of("after", 1, "after")
	failed, err := s.Save(s.Context(), []snapshots.Snapshot{before, bad, after})
	if err != nil || len(failed) != 3 || failed[0] != nil || failed[1] == nil || failed[2] != nil {
		s.Fatalf("Save = %v, %v; want the second alone refused", failed, err)
	}
	s.want(before)
	s.want(after)
	s.wantNone(bad.Key)
	return failed[1]
}

func testTooLarge(s *store) {
	large := of("large", 1, strings.Repeat("x", snapshots.MaxStateBytes+1))
	if err := s.wantAlone(large); !errors.Is(err, snapshots.ErrTooLarge) {
		s.Errorf("refused with %v", err)
	}
	bomb := of("bomb", 1, "x")
	bomb.Zstd, bomb.Size = true, snapshots.MaxStateBytes+1
	if err := s.wantAlone(bomb); !errors.Is(err, snapshots.ErrTooLarge) {
		s.Errorf("refused with %v", err)
	}
}

func testInvalid(s *store) {
	none, schema, size := of("42", 0, "x"), of("42", 1, "x"), of("42", 1, "x")
	schema.Schema, size.Size = 0, 2
	for _, bad := range []snapshots.Snapshot{none, schema, size} {
		s.wantAlone(bad)
	}
}

func testAwkwardStreams(s *store) {
	for i, id := range []string{"{x}", "a}b{c", "a:b", ":", "with space", "-", "*", "?[a]\\", "ключ", "'\"\\;--", ":snapshot:" + definition + ":x", strings.Repeat("x", 200)} {
		w := of(id, eventstore.Version(i+1), id)
		s.save(w)
		s.want(w)
		listed := 0
		for k, err := range s.Keys(s.Context(), definition) {
			if err != nil {
				s.Fatal(err)
			}
			if k == w.Key {
				listed++
			}
		}
		if listed != 1 {
			s.Errorf("%q is listed %d times", id, listed)
		}
		if err := s.Delete(s.Context(), []snapshots.Key{w.Key}); err != nil {
			s.Fatal(err)
		}
		s.wantNone(w.Key)
	}
}

// testWriters has many write versions of one stream in every order.
func testWriters(s *store) {
	const writers, each = 8, 25
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				version := eventstore.Version((i*7+w*3)%(writers*each) + 1)
				if w == i%writers && i > each/2 {
					version = writers * each
				}
				made := of("42", version, fmt.Sprint(version))
				made.EventID = uuid.UUID{15: byte(version)}
				failed, err := s.Save(s.Context(), []snapshots.Snapshot{made, of(fmt.Sprintf("%d-%d", w, i), 1, "x")})
				if err := errors.Join(append(failed, err)...); err != nil {
					s.Error(err)
				}
			}
		})
	}
	wg.Wait()
	newest := of("42", writers*each, fmt.Sprint(writers*each))
	newest.EventID = uuid.UUID{15: byte(newest.Version)}
	s.want(newest)
}

func testContextEnded(s *store) {
	s.save(of("42", 1, "x"))
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	_, _, err := s.Load(ctx, []snapshots.Key{key("42")})
	_, err2 := s.Save(ctx, []snapshots.Snapshot{of("43", 1, "x")})
	err3 := s.Delete(ctx, []snapshots.Key{key("42")})
	var err4 error
	for _, err4 = range s.Keys(ctx, definition) {
	}
	for _, err := range []error{err, err2, err3, err4} {
		if !errors.Is(err, context.Canceled) {
			s.Errorf("with an ended context: %v", err)
		}
	}
	s.wantNone(key("43"))
}
