package snapshots_test

import (
	"fmt"
	"testing"

	"github.com/projectord/projectord/snapshots"
)

// BenchmarkStates saves and loads carts of many items, without what a server takes. A
// save encodes, decodes and compares.
func BenchmarkStates(b *testing.B) {
	for _, items := range []int{10, 1000} {
		for _, zstd := range []bool{false, true} {
			s, _ := states(b, newMemory(), Cart{}, func(c *snapshots.Config) { c.Zstd = zstd })
			w := entry(1, fullCart())
			for i := range items {
				w.State.Items[fmt.Sprint("item ", i)] = int64(i)
			}
			name := fmt.Sprintf("Items=%d/Zstd=%v/", items, zstd)
			b.Run(name+"Save", func(b *testing.B) {
				for b.Loop() {
					w.Version++
					s.Save(b.Context(), w)
				}
			})
			b.Run(name+"Load", func(b *testing.B) {
				for b.Loop() {
					if s.Load(b.Context(), cart42)[0].Version != w.Version {
						b.Fatal("nothing was loaded")
					}
				}
			})
		}
	}
}
