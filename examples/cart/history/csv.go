package history

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/projectord/projectord/examples/cart/shop"
)

// columns are the columns of an invoice line that matter, in the order of the
// col constants. Others may stand anywhere among them.
var columns = []string{"InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID"}

const (
	colInvoice = iota
	colItem
	colQuantity
	colDate
	colPrice
	colCustomer
)

// dateLayout is that of InvoiceDate, which has no zone and is taken as UTC.
const dateLayout = "2006-01-02 15:04:05"

// csvReader turns the invoice lines of a csv file into facts.
type csvReader struct {
	where    [6]int // where each of columns stands in a line
	width    int    // fields in a line
	fields   [][]byte
	texts    interner
	invoices map[string]*invoice
	blocks   [][]row // of rowBlock rows each: a growing slice would be copied again and again
	rows     int
}

const rowBlock = 4096

// row is an invoice line.
type row struct {
	invoice *invoice
	fact    Fact
}

// invoice is what its lines have in common.
type invoice struct {
	cart string
	last int // line of its last row
	adds bool
}

// csv yields the facts of a csv file.
func (h *History) csv(yield func(Fact, error) bool) {
	c := &csvReader{invoices: make(map[string]*invoice)}
	if err := c.readHeader(h.lines); err != nil {
		yield(Fact{}, err)
		return
	}
	if !c.readRows(h.lines, yield) {
		return
	}
	h.total = c.rows + len(c.invoices)
	c.tell(yield)
}

func (c *csvReader) readHeader(lines *lineReader) error {
	line, err := lines.next()
	if err == nil {
		c.fields, err = splitCSV(nil, line)
	}
	if err != nil {
		return fmt.Errorf("the header: %w", err)
	}
	c.width = len(c.fields)
	var missing []string
	for i, name := range columns {
		c.where[i] = slices.IndexFunc(c.fields, func(f []byte) bool { return string(f) == name })
		if c.where[i] < 0 {
			missing = append(missing, name)
		}
	}
	if missing != nil {
		return fmt.Errorf("neither ndjson nor a csv file of invoice lines: its first line lacks the columns %s", strings.Join(missing, ", "))
	}
	return nil
}

// readRows reads all lines and yields those that make no sense. It reports
// whether to go on.
func (c *csvReader) readRows(lines *lineReader, yield func(Fact, error) bool) bool {
	for {
		line, err := lines.next()
		if err == io.EOF {
			return true
		}
		if err == nil {
			if err = c.readRow(line, lines.number); err != nil {
				err = &LineError{Line: lines.number, Err: err}
			}
		}
		if err != nil && (!yield(Fact{}, err) || !errors.As(err, new(*LineError))) {
			return false
		}
	}
}

func (c *csvReader) readRow(line []byte, number int) error {
	var err error
	c.fields, err = splitCSV(c.fields[:0], line)
	if err != nil {
		return err
	}
	if len(c.fields) != c.width {
		return fmt.Errorf("it has %d fields, the header has %d", len(c.fields), c.width)
	}
	f := Fact{Type: shop.NameItemAdded, Line: number}
	if f.Qty, err = strconv.ParseInt(string(c.field(colQuantity)), 10, 64); err != nil {
		return fmt.Errorf("the Quantity %.80q is no whole number", c.field(colQuantity))
	}
	if f.Qty < 0 {
		f.Type, f.Qty = shop.NameItemRemoved, -f.Qty
	}
	if f.PriceMilli, err = parseMilli(c.field(colPrice)); err != nil {
		return fmt.Errorf("the UnitPrice %.80q %w", c.field(colPrice), err)
	}
	if f.Time, err = time.Parse(dateLayout, string(c.field(colDate))); err != nil {
		return fmt.Errorf("the InvoiceDate %.80q is not like 2010-12-01 08:26:00", c.field(colDate))
	}
	number0 := c.field(colInvoice)
	if closing(number0, true) == "" {
		return fmt.Errorf("the InvoiceNo %.80q is not a number, which C or A may precede", number0)
	}
	f.Item, f.Ref = c.texts.text(c.field(colItem)), c.texts.text(number0)
	return c.add(f)
}

func (c *csvReader) field(column int) []byte { return c.fields[c.where[column]] }

// add adds a row to its invoice.
func (c *csvReader) add(f Fact) error {
	customer := bytes.TrimSuffix(c.field(colCustomer), []byte(".0"))
	if !digits(customer) && len(customer) > 0 {
		return fmt.Errorf("the CustomerID %.80q is no number", c.field(colCustomer))
	}
	in := c.invoices[f.Ref]
	switch {
	case in != nil && (in.cart[0] != 'c' || in.cart[1:] != string(customer)) && (in.cart[0] != 'i' || len(customer) > 0):
		return fmt.Errorf("the CustomerID %q is another than before in invoice %s", customer, f.Ref)
	case in != nil:
		f.Cart = in.cart
	case len(customer) > 0:
		f.Cart = c.texts.text(append([]byte("c"), customer...))
	default:
		f.Cart = "i" + f.Ref
	}
	if err := f.check(); err != nil {
		return err
	}
	if in == nil {
		in = &invoice{cart: f.Cart}
		c.invoices[f.Ref] = in
	}
	in.last = f.Line
	in.adds = in.adds || f.Type == shop.NameItemAdded
	if c.rows%rowBlock == 0 {
		c.blocks = append(c.blocks, make([]row, 0, rowBlock))
	}
	last := &c.blocks[len(c.blocks)-1]
	*last = append(*last, row{invoice: in, fact: f})
	c.rows++
	return nil
}

// tell yields the rows, and after the last one of each invoice the event that
// closes it. The lines of an invoice need not stand together.
func (c *csvReader) tell(yield func(Fact, error) bool) {
	for i, block := range c.blocks {
		for _, r := range block {
			if !yield(r.fact, nil) {
				return
			}
			if r.fact.Line != r.invoice.last {
				continue
			}
			end := Fact{Cart: r.fact.Cart, Time: r.fact.Time, Ref: r.fact.Ref, Line: r.fact.Line}
			end.Type = closing([]byte(end.Ref), r.invoice.adds)
			if !yield(end, nil) {
				return
			}
		}
		c.blocks[i] = nil
	}
}

// closing returns the type of the event that closes an invoice: C stands for a
// cancellation, A for an adjustment of the books; and an invoice that only takes
// items away corrects the stock. It returns "" where number is no invoice's.
func closing(number []byte, adds bool) string {
	switch {
	case digits(number) && adds:
		return shop.NameCheckedOut
	case digits(number):
		return shop.NameAdjustmentClosed
	case len(number) > 0 && number[0] == 'C' && digits(number[1:]):
		return shop.NameReturnClosed
	case len(number) > 0 && number[0] == 'A' && digits(number[1:]):
		return shop.NameAdjustmentClosed
	}
	return ""
}

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}

var (
	errNoPrice  = errors.New("is no price like 2.55")
	errDecimals = errors.New("has more than three decimals")
	errPrice    = errors.New("is too large")
)

// parseMilli reads a decimal number as thousandths, exactly.
func parseMilli(b []byte) (int64, error) {
	number, negative := bytes.CutPrefix(b, []byte("-"))
	whole, decimals, point := bytes.Cut(number, []byte("."))
	switch decimals = bytes.TrimRight(decimals, "0"); {
	case !digits(whole), point && number[len(number)-1] == '.', len(decimals) > 0 && !digits(decimals):
		return 0, errNoPrice
	case len(decimals) > 3:
		return 0, errDecimals
	case len(whole) > 12:
		return 0, errPrice
	}
	var milli int64
	for _, part := range [...][]byte{whole, decimals, []byte("000")[len(decimals):]} {
		for _, c := range part {
			milli = 10*milli + int64(c-'0')
		}
	}
	if negative {
		milli = -milli
	}
	return milli, nil
}
