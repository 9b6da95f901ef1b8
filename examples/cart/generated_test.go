package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// shopFile is a made-up history in both forms, with the answers that are to come
// out, computed here without any of the program's code.
type shopFile struct {
	csv, ndjson            string
	events                 int
	holdings, carts, chain string // the listings
}

// generate makes up a history of so many invoices: returns beyond what was
// bought, adjustments, equal rows, invoices whose rows do not stand together,
// and customers without a number.
func generate(seed uint64, invoices int) shopFile {
	random := rand.New(rand.NewPCG(seed, 1))
	var open []*generated
	var b builder
	start := time.Date(2010, 12, 1, 8, 0, 0, 0, time.UTC)
	for n, minute := 0, 0; n < invoices || len(open) > 0; minute++ {
		if n < invoices && len(open) < 3 {
			open = append(open, newGenerated(random, n))
			n++
		}
		// Mostly the oldest one goes on.
		i := max(0, random.IntN(len(open)+4)-4)
		g := open[i]
		b.row(random, g, start.Add(time.Duration(minute)*time.Minute))
		if g.rows--; g.rows == 0 {
			open = slices.Delete(open, i, i+1)
		}
	}
	return b.file()
}

// generated is an invoice with rows still to come.
type generated struct {
	number, customer, closing string
	sign                      int
	rows                      int
}

func newGenerated(random *rand.Rand, n int) *generated {
	g := &generated{number: fmt.Sprint(536_365 + n), closing: "checked_out", sign: 1, rows: 1 + random.IntN(12)}
	switch random.IntN(10) {
	case 0, 1:
		g.number, g.closing, g.sign = "C"+g.number, "return_closed", -1
	case 2:
		g.closing, g.sign = "adjustment_closed", -1
	case 3:
		g.number, g.closing = "A"+g.number, "adjustment_closed"
	}
	if random.IntN(5) > 0 {
		g.customer = fmt.Sprint(12_346 + random.IntN(40))
	}
	return g
}

// builder writes both forms and the answers row by row.
type builder struct {
	csv, ndjson strings.Builder
	n           int
	net         map[[2]string]int
	counts      map[string]*[5]int
	chains      map[string][]string // the lines that go into each cart's hash
}

func (b *builder) row(random *rand.Rand, g *generated, at time.Time) {
	item := []string{"85123A", "85123a", "22139", "POST", "gift card, \"20\"", "ä"}[random.IntN(6)]
	qty, milli := 1+random.IntN(9), 10*random.IntN(1_500)
	price := fmt.Sprintf("%d.%02d", milli/1_000, milli%1_000/10)
	customer, cart := "", "i"+g.number
	if g.customer != "" {
		customer, cart = g.customer+".0", "c"+g.customer
	}
	if b.n == 0 {
		b.csv.WriteString("InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n")
		b.net, b.counts, b.chains = make(map[[2]string]int), make(map[string]*[5]int), make(map[string][]string)
	}
	fmt.Fprintf(&b.csv, "%s,\"%s\",SOMETHING,%d,%s,%s,%s,France\n", g.number, strings.ReplaceAll(item, `"`, `""`),
		g.sign*qty, at.Format("2006-01-02 15:04:05"), price, customer)
	kind, counter := "item_added", 0
	if g.sign < 0 {
		kind, counter = "item_removed", 1
	}
	b.event(at, cart, kind, counter, fmt.Sprintf(`,"item":%q,"qty":%d,"price_milli":%d`, item, qty, milli), g.number)
	b.net[[2]string{cart, item}] += g.sign * qty
	b.chains[cart] = append(b.chains[cart], fmt.Sprintf("%s\t%s\t%d\t%d\t%s", kind, item, qty, milli, g.number))
	if g.rows == 1 {
		counter := map[string]int{"checked_out": 2, "return_closed": 3, "adjustment_closed": 4}[g.closing]
		b.event(at, cart, g.closing, counter, "", g.number)
		b.chains[cart] = append(b.chains[cart], fmt.Sprintf("%s\t\t\t\t%s", g.closing, g.number))
	}
}

func (b *builder) event(at time.Time, cart, kind string, counter int, rest, ref string) {
	b.n++
	fmt.Fprintf(&b.ndjson, `{"n":%d,"ts":"%s","cart":"%s","type":"%s"%s,"ref":"%s"}`+"\n", b.n, at.Format(time.RFC3339), cart, kind, rest, ref)
	if b.counts[cart] == nil {
		b.counts[cart] = new([5]int)
	}
	b.counts[cart][counter]++
}

func (b *builder) file() shopFile {
	var holdings, carts, chain []string
	for key, net := range b.net {
		if net != 0 {
			holdings = append(holdings, fmt.Sprintf("%s\t%s\t%d\n", key[0], key[1], net))
		}
	}
	for cart, c := range b.counts {
		carts = append(carts, fmt.Sprintf("%s\t%d\t%d\t%d\t%d\t%d\n", cart, c[0], c[1], c[2], c[3], c[4]))
	}
	for cart, lines := range b.chains {
		hash := ""
		for _, line := range lines {
			sum := sha256.Sum256([]byte(hash + "\n" + line))
			hash = hex.EncodeToString(sum[:])
		}
		chain = append(chain, fmt.Sprintf("%s\t%d\t%s\n", cart, len(lines), hash))
	}
	sorted := func(lines []string) string {
		slices.Sort(lines)
		return strings.Join(lines, "")
	}
	return shopFile{b.csv.String(), b.ndjson.String(), b.n, sorted(holdings), sorted(carts), sorted(chain)}
}
