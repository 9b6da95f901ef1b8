package history

import (
	"encoding/csv"
	"slices"
	"strings"
	"testing"

	"github.com/projectord/projectord/examples/cart/shop"
)

func TestCSVLines(t *testing.T) {
	facts := mustRead(t, smallCSV)
	lines := []int{}
	for _, f := range facts {
		lines = append(lines, f.Line)
	}
	// An invoice is closed where its last line stands.
	if want := []int{2, 3, 3, 4, 5, 5, 6, 7, 7, 8, 8, 9, 9}; !slices.Equal(lines, want) {
		t.Errorf("the facts come from lines %v; want %v", lines, want)
	}
}

func TestCSVColumns(t *testing.T) {
	moved := "Country,CustomerID,UnitPrice,InvoiceDate,Quantity,StockCode,InvoiceNo\nFrance,7,1.5,2010-12-01 08:26:00,2,tea,9\n"
	want := Fact{Cart: "c7", Type: shop.NameItemAdded, Item: "tea", Qty: 2, PriceMilli: 1_500, Ref: "9", Line: 2}
	got := mustRead(t, moved)
	want.Time = got[0].Time
	if got[0] != want {
		t.Errorf("the fact is %+v; want %+v", got[0], want)
	}
	_, _, err := read(t, "InvoiceNo,StockCode,Description,InvoiceDate,UnitPrice,Country\n")
	if err == nil || !strings.Contains(err.Error(), "Quantity, CustomerID") {
		t.Errorf("the error about missing columns is %v", err)
	}
}

func TestCSVBadLines(t *testing.T) {
	const good = "1,tea,TEA,6,2010-12-01 08:26:00,2.55,17850.0,UK"
	header, _, _ := strings.Cut(smallCSV, "\n")
	for _, test := range []struct{ name, line, reason string }{
		{"Empty", "", "1 fields, the header has 8"},
		{"TooFewFields", "1,tea,TEA,6,2010-12-01 08:26:00,2.55,17850.0", "7 fields, the header has 8"},
		{"TooManyFields", good + ",x", "9 fields, the header has 8"},
		{"OpenQuote", `1,tea,"TEA,6,2010-12-01 08:26:00,2.55,17850.0,UK`, "quote is not closed"},
		{"StrayQuote", `1,tea,TEA 7",6,2010-12-01 08:26:00,2.55,17850.0,UK`, "quote stands where none may be"},
		{"TextAfterQuote", `1,tea,"TEA"x,6,2010-12-01 08:26:00,2.55,17850.0,UK`, "quote stands where none may be"},
		{"NoQuantity", "1,tea,TEA,,2010-12-01 08:26:00,2.55,17850.0,UK", `Quantity "" is no whole number`},
		{"FractionalQuantity", "1,tea,TEA,1.5,2010-12-01 08:26:00,2.55,17850.0,UK", `Quantity "1.5"`},
		{"ZeroQuantity", "1,tea,TEA,0,2010-12-01 08:26:00,2.55,17850.0,UK", "the quantity 0"},
		{"HugeQuantity", "1,tea,TEA,99999999999999999999,2010-12-01 08:26:00,2.55,17850.0,UK", "Quantity"},
		{"LeastQuantity", "1,tea,TEA,-9223372036854775808,2010-12-01 08:26:00,2.55,17850.0,UK", "quantity"},
		{"NoPrice", "1,tea,TEA,6,2010-12-01 08:26:00,,17850.0,UK", "UnitPrice"},
		{"PriceInWords", "1,tea,TEA,6,2010-12-01 08:26:00,two,17850.0,UK", "UnitPrice"},
		{"FourDecimals", "1,tea,TEA,6,2010-12-01 08:26:00,2.5501,17850.0,UK", "more than three decimals"},
		{"HugePrice", "1,tea,TEA,6,2010-12-01 08:26:00,1000000000.001,17850.0,UK", "price"},
		{"NoDate", "1,tea,TEA,6,,2.55,17850.0,UK", "InvoiceDate"},
		{"AmericanDate", "1,tea,TEA,6,12/1/2010 8:26,2.55,17850.0,UK", "InvoiceDate"},
		{"ThirteenthMonth", "1,tea,TEA,6,2010-13-01 08:26:00,2.55,17850.0,UK", "InvoiceDate"},
		{"NoInvoice", ",tea,TEA,6,2010-12-01 08:26:00,2.55,17850.0,UK", "InvoiceNo"},
		{"OtherInvoice", "B1,tea,TEA,6,2010-12-01 08:26:00,2.55,17850.0,UK", "InvoiceNo"},
		{"LoneC", "C,tea,TEA,6,2010-12-01 08:26:00,2.55,17850.0,UK", "InvoiceNo"},
		{"CustomerInWords", "2,tea,TEA,6,2010-12-01 08:26:00,2.55,Ada,UK", "CustomerID"},
		{"FractionalCustomer", "2,tea,TEA,6,2010-12-01 08:26:00,2.55,17850.5,UK", "CustomerID"},
		{"OtherCustomerInInvoice", "1,tea,TEA,6,2010-12-01 08:26:00,2.55,17851.0,UK", "another than before in invoice 1"},
		{"NoCustomerInInvoice", "1,tea,TEA,6,2010-12-01 08:26:00,2.55,,UK", "another than before in invoice 1"},
		{"NoItem", "1,,TEA,6,2010-12-01 08:26:00,2.55,17850.0,UK", "bad item code"},
		{"TabInItem", "1,t\tea,TEA,6,2010-12-01 08:26:00,2.55,17850.0,UK", "bad item code"},
		{"BrokenText", "1,t\xffa,TEA,6,2010-12-01 08:26:00,2.55,17850.0,UK", "bad item code"},
	} {
		t.Run(test.name, func(t *testing.T) {
			facts, bad, err := read(t, strings.Join([]string{header, good, test.line, good}, "\n")+"\n")
			if err != nil || len(bad) != 1 {
				t.Fatalf("bad lines %v, %v; want one", bad, err)
			}
			if bad[0].Line != 3 || !strings.Contains(bad[0].Error(), test.reason) {
				t.Errorf("the error is %v; want line 3 and %q", bad[0], test.reason)
			}
			if len(facts) != 3 { // the two good rows and what closes their invoice
				t.Errorf("%d facts beside it; want 3", len(facts))
			}
		})
	}
}

func TestParseMilli(t *testing.T) {
	for text, want := range map[string]int64{
		"2.55": 2_550, "0.0": 0, "12.755": 12_755, "-11062.06": -11_062_060, "7": 7_000, "0.001": 1, "-0.5": -500, "1.50000": 1_500,
	} {
		if got, err := parseMilli([]byte(text)); err != nil || got != want {
			t.Errorf("parseMilli(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-", ".", "1.", ".5", "+1", "1e3", "--1", "1,5", " 1", "1.5x", "1.x0", "0.0001", "9999999999999"} {
		if got, err := parseMilli([]byte(text)); err == nil {
			t.Errorf("parseMilli(%q) = %d; want an error", text, got)
		}
	}
}

// FuzzCSVLine compares splitting a line with encoding/csv, and reads it as an
// invoice line: whatever is accepted is a fact that can be stored.
func FuzzCSVLine(f *testing.F) {
	for line := range strings.Lines(smallCSV) {
		f.Add(strings.TrimSuffix(line, "\n"))
	}
	for _, line := range []string{`"`, `""`, `"a""b",c`, `a"b`, `"a"b`, ",,", `"a,b"`, "\x00,\xff"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "\r\n") || line == "" {
			t.Skip("not a line")
		}
		want, wantErr := csv.NewReader(strings.NewReader(line)).Read()
		fields, err := splitCSV(nil, []byte(line))
		var got []string
		for _, field := range fields {
			got = append(got, string(field))
		}
		if (err == nil) != (wantErr == nil) || err == nil && !slices.Equal(got, want) {
			t.Fatalf("splitCSV(%q) = %q, %v; encoding/csv says %q, %v", line, got, err, want, wantErr)
		}
		c := &csvReader{where: [6]int{0, 1, 3, 4, 5, 6}, width: 8, invoices: make(map[string]*invoice)}
		if c.readRow([]byte(line), 1) != nil {
			if c.rows != 0 || len(c.invoices) != 0 {
				t.Errorf("%q was refused but left something behind", line)
			}
			return
		}
		n := 0
		c.tell(func(f Fact, err error) bool {
			n++
			if err != nil || f.check() != nil {
				t.Errorf("%q tells %+v: %v", line, f, f.check())
			}
			return true
		})
		if n != 2 {
			t.Errorf("%q tells %d facts; want the row and what closes its invoice", line, n)
		}
	})
}
