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
	csv, ndjson string
	events      int
	// The listings by their names.
	inRedis, inPostgres map[string]string
}

// generate makes up a history of so many invoices: returns beyond what was
// bought, adjustments, equal rows, invoices whose rows do not stand together,
// and customers without a number.
func generate(seed uint64, invoices int) shopFile { return generateUntil(seed, invoices, "", 0) }

// generateUntil makes up the same history without what follows upon the first events
// of a cart. The first that is left out closes no invoice.
func generateUntil(seed uint64, invoices int, cart string, events int) shopFile {
	random := rand.New(rand.NewPCG(seed, 1))
	var open []*generated
	b := builder{cart: cart, until: events}
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
	cart        string // of which there are only so many events
	until       int
	n           int
	net         map[[2]string]int
	counts      map[string]*[5]int
	chains      map[string][]string // the lines that go into each cart's hash
	products    map[string]*[4]int
	orders      map[string]*generatedOrder
	days        map[string]*[3]int
}

// generatedOrder is what an invoice comes to.
type generatedOrder struct {
	cart, kind          string
	lines, units, total int
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
		b.products, b.orders, b.days = make(map[string]*[4]int), make(map[string]*generatedOrder), make(map[string]*[3]int)
	}
	if cart == b.cart && len(b.chains[cart]) >= b.until {
		return
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
	b.totals(g, at, cart, item, qty, milli)
	if g.rows == 1 {
		counter := map[string]int{"checked_out": 2, "return_closed": 3, "adjustment_closed": 4}[g.closing]
		b.event(at, cart, g.closing, counter, "", g.number)
		b.chains[cart] = append(b.chains[cart], fmt.Sprintf("%s\t\t\t\t%s", g.closing, g.number))
		b.orders[g.number].kind = g.closing
	}
}

// totals adds a row to what carts share.
func (b *builder) totals(g *generated, at time.Time, cart, item string, qty, milli int) {
	product, order, day := b.products[item], b.orders[g.number], b.days[at.Format("2006-01-02")]
	if product == nil {
		product = new([4]int)
		b.products[item] = product
	}
	if order == nil {
		order = &generatedOrder{cart: cart}
		b.orders[g.number] = order
	}
	if day == nil {
		day = new([3]int)
		b.days[at.Format("2006-01-02")] = day
	}
	if g.sign > 0 {
		product[0] += qty
		product[2] += qty * milli
	} else {
		product[1] += qty
		product[3] += qty * milli
	}
	order.lines++
	order.units += g.sign * qty
	order.total += g.sign * qty * milli
	day[0]++
	day[1] += g.sign * qty
	day[2] += g.sign * qty * milli
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
	var products, orders, days []string
	for item, p := range b.products {
		products = append(products, fmt.Sprintf("%s\t%d\t%d\t%d\t%d\n", item, p[0], p[1], p[2], p[3]))
	}
	for ref, o := range b.orders {
		orders = append(orders, fmt.Sprintf("%s\t%s\t%s\t%d\t%d\t%d\n", ref, o.cart, o.kind, o.lines, o.units, o.total))
	}
	for day, d := range b.days {
		days = append(days, fmt.Sprintf("%s\t%d\t%d\t%d\n", day, d[0], d[1], d[2]))
	}
	sorted := func(lines []string) string {
		slices.Sort(lines)
		return strings.Join(lines, "")
	}
	return shopFile{
		csv: b.csv.String(), ndjson: b.ndjson.String(), events: b.n,
		inRedis:    map[string]string{"holdings": sorted(holdings), "carts": sorted(carts), "chain": sorted(chain)},
		inPostgres: map[string]string{"products": sorted(products), "orders": sorted(orders), "days": sorted(days)},
	}
}
