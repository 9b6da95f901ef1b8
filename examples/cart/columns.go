package main

import (
	"slices"

	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/pgsink"
)

// The columns of the tables in Postgres: what the projections of package shop set.

func summaryColumns() []pgsink.Column {
	return slices.Concat(
		columns(projector.Int, shop.CounterFields...),
		columns(projector.Int, shop.ItemsField, shop.UnitsField, shop.TotalMilliField),
		columns(projector.Time, shop.FirstEventField, shop.LastEventField))
}

func productColumns() []pgsink.Column { return columns(projector.Int, shop.ProductFields...) }

func orderColumns() []pgsink.Column {
	return slices.Concat(
		columns(projector.String, shop.OrderCart, shop.OrderKind),
		columns(projector.Int, shop.OrderCountFields...))
}

func dayColumns() []pgsink.Column { return columns(projector.Int, shop.DayFields...) }

// columns returns columns of one kind.
func columns(kind projector.Kind, names ...string) []pgsink.Column {
	all := make([]pgsink.Column, len(names))
	for i, name := range names {
		all[i] = pgsink.Column{Name: name, Kind: kind}
	}
	return all
}
