package history

import (
	"errors"
	"strings"
	"testing"
)

// The same history in both forms. The lines of invoice 3 do not stand together,
// one has a quoted description, and two rows are equal.
const (
	smallCSV = `InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
1,85123A,HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom
1,85123a,"RECORD FRAME 7"" SINGLE, RED",1,2010-12-01 08:26:00,0.0,17850.0,United Kingdom
3,22139,,5,2010-12-01 08:30:00,2.1,,United Kingdom
C2,85123A,HEART,-7,2010-12-01 09:00:00,2.55,17850.0,United Kingdom
3,22139,,5,2010-12-01 09:01:00,2.1,,United Kingdom
4,POST,,-2,2010-12-02 00:00:00,0.0,,France
A5,B,Adjust bad debt,1,2011-08-12 14:51:00,-11062.06,,United Kingdom
3,22139,,5,2010-12-01 09:01:00,2.1,,United Kingdom
`
	smallNDJSON = `{"n":1,"ts":"2010-12-01T08:26:00Z","cart":"c17850","type":"item_added","item":"85123A","qty":6,"price_milli":2550,"ref":"1"}
{"n":2,"ts":"2010-12-01T08:26:00Z","cart":"c17850","type":"item_added","item":"85123a","qty":1,"price_milli":0,"ref":"1"}
{"n":3,"ts":"2010-12-01T08:26:00Z","cart":"c17850","type":"checked_out","ref":"1"}
{"n":4,"ts":"2010-12-01T08:30:00Z","cart":"i3","type":"item_added","item":"22139","qty":5,"price_milli":2100,"ref":"3"}
{"n":5,"ts":"2010-12-01T09:00:00Z","cart":"c17850","type":"item_removed","item":"85123A","qty":7,"price_milli":2550,"ref":"C2"}
{"n":6,"ts":"2010-12-01T09:00:00Z","cart":"c17850","type":"return_closed","ref":"C2"}
{"n":7,"ts":"2010-12-01T09:01:00Z","cart":"i3","type":"item_added","item":"22139","qty":5,"price_milli":2100,"ref":"3"}
{"n":8,"ts":"2010-12-02T00:00:00Z","cart":"i4","type":"item_removed","item":"POST","qty":2,"price_milli":0,"ref":"4"}
{"n":9,"ts":"2010-12-02T00:00:00Z","cart":"i4","type":"adjustment_closed","ref":"4"}
{"n":10,"ts":"2011-08-12T14:51:00Z","cart":"iA5","type":"item_added","item":"B","qty":1,"price_milli":-11062060,"ref":"A5"}
{"n":11,"ts":"2011-08-12T14:51:00Z","cart":"iA5","type":"adjustment_closed","ref":"A5"}
{"n":12,"ts":"2010-12-01T09:01:00Z","cart":"i3","type":"item_added","item":"22139","qty":5,"price_milli":2100,"ref":"3"}
{"n":13,"ts":"2010-12-01T09:01:00Z","cart":"i3","type":"checked_out","ref":"3"}
`
)

// read reads a history to its end. Lines that make no sense are collected; err
// is what ended it early.
func read(t *testing.T, text string) (facts []Fact, bad []*LineError, err error) {
	t.Helper()
	h, err := Open(strings.NewReader(text))
	if err != nil {
		return nil, nil, err
	}
	defer h.Close()
	for f, err := range h.Facts() {
		line := new(LineError)
		switch {
		case errors.As(err, &line):
			bad = append(bad, line)
		case err != nil:
			return facts, bad, err
		default:
			facts = append(facts, f)
		}
	}
	return facts, bad, nil
}

// mustRead reads a history in which nothing is wrong.
func mustRead(t *testing.T, text string) []Fact {
	t.Helper()
	facts, bad, err := read(t, text)
	if err != nil || bad != nil {
		t.Fatalf("reading failed: %v, bad lines %v", err, bad)
	}
	return facts
}
