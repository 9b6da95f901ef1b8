package shop

import (
	"fmt"
	"math"
)

// amount returns what a line comes to, in thousandths. It panics where that is
// beyond every sum of money, which no command lets happen: the stream halts, where
// a number that wrapped around would go unnoticed.
func amount(qty, priceMilli int64) int64 {
	if math.Abs(float64(qty)*float64(priceMilli)) > 1<<62 {
		panic(fmt.Sprintf("%d at %d thousandths come to more than 64 bits hold", qty, priceMilli))
	}
	return qty * priceMilli
}
