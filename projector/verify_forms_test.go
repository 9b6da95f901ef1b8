package projector_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/pgsink"
)

// Sinks may give values in other forms than a fold does. That is no difference.
func TestVerifyForms(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	pool, err := pgxpool.New(t.Context(), testenv.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	kinds := []pgsink.Column{
		{Name: "text", Kind: projector.String}, {Name: "whole", Kind: projector.Int}, {Name: "huge", Kind: projector.Float},
		{Name: "small", Kind: projector.Float}, {Name: "even", Kind: projector.Float}, {Name: "is", Kind: projector.Bool}, {Name: "at", Kind: projector.Time},
	}
	columns, err := pgsink.New(pool, f.store.Namespace(), "columns", kinds...)
	if err != nil {
		t.Fatal(err)
	}
	documents, err := pgsink.New(pool, f.store.Namespace(), "documents")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := pgsink.NewDelta(pool, f.store.Namespace(), "rows", kinds...)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2011, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	small := 0.0000001
	p := projector.NewState("totals", projector.StateConfig[total]{
		Categories: []string{"cart"}, Events: registry(),
		Document: func(s *total, d *projector.Document) {
			d.SetString("text", "2.0")
			d.SetInt("whole", s.qty)
			d.SetFloat("huge", 1e21)
			d.SetFloat("small", small)
			d.SetFloat("even", 1e6)
			d.SetBool("is", true)
			d.SetTime("at", at)
		},
	})
	projector.On(p, func(s *total, e added) { s.add(e.Qty) })
	d := projector.NewDelta("rows", projector.DeltaConfig{Categories: []string{"cart"}, Events: registry()})
	projector.OnDelta(d, func(f *projector.Effects, e added, _ *eventstore.Recorded) {
		row := f.Row("all")
		row.SetString("text", "2.0")
		row.Add("whole", e.Qty)
		row.SetFloat("huge", 1e21)
		row.SetFloat("small", small)
		row.SetFloat("even", 1e6)
		row.SetBool("is", true)
		row.SetTime("at", at)
	})
	f.append(cart(1), 1, 2, 3)
	for name, a := range map[string]projector.Assignment{
		"redis": {Projection: p, Sink: f.sink}, "columns": {Projection: p, Sink: columns},
		"documents": {Projection: p, Sink: documents}, "rows": {Projection: d, Sink: rows},
	} {
		if _, err := projector.CatchUp(t.Context(), f.store, a.Projection, a.Sink, projector.CatchUpConfig{}); err != nil {
			t.Fatal(name, err)
		}
		config := projector.VerifyConfig{Assignment: a, Found: func(d projector.Difference) { t.Errorf("%s: %v; want %v", name, d.Document, d.Other) }}
		if report, err := f.operator().Verify(t.Context(), config); err != nil || report.Compared != 1 {
			t.Errorf("%s: %+v, %v", name, report, err)
		}
	}
	// What is another value is one.
	small = 0.0000002
	report, err := f.operator().Verify(t.Context(), projector.VerifyConfig{Assignment: projector.Assignment{Projection: p, Sink: documents}})
	if err != nil || report.Different != 1 {
		t.Errorf("%+v, %v", report, err)
	}
}
