// Package postgres keeps snapshots in Postgres: a row each in the table _snapshots, in
// the schema of the namespace. The table comes from the package migrations.
package postgres
