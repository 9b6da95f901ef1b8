package bench

import "slices"

// catalogue returns all rows, in the order in which they are reported. Rows that share a
// limit share the measure of it, so they are made together.
func catalogue() []*row {
	return slices.Concat(
		appendRows(), leaseRows(), keptRows(),
		rebuildRows(), readRows(), liveRows(), memoryRows(), growthRows(), processRows(),
	)
}
