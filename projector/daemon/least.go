package daemon

import "slices"

// least keeps the least values of many, each once: so many, all where limit is 0. It takes
// room for about twice as many.
type least[T any] struct {
	limit   int
	compare func(a, b T) int // 0 for the same one

	kept []T
	full bool // the last of kept, at limit, bounds what else may be among them
	over bool // there are more than limit
}

func (l *least[T]) add(v T) {
	if l.full && l.compare(v, l.kept[l.limit-1]) > 0 {
		l.over = true
		return
	}
	l.kept = append(l.kept, v)
	if l.limit > 0 && len(l.kept) >= 2*l.limit+2 {
		l.shrink()
	}
}

// shrink sorts what is kept, and forgets what is not among the least.
func (l *least[T]) shrink() {
	slices.SortFunc(l.kept, l.compare)
	l.kept = slices.CompactFunc(l.kept, func(a, b T) bool { return l.compare(a, b) == 0 })
	if l.limit > 0 && len(l.kept) >= l.limit {
		l.over = l.over || len(l.kept) > l.limit
		clear(l.kept[l.limit:])
		l.kept, l.full = l.kept[:l.limit], true
	}
}

// sorted returns them in ascending order, and whether there are more. Nothing is added
// after that.
func (l *least[T]) sorted() (all []T, more bool) {
	l.shrink()
	return l.kept, l.over
}
