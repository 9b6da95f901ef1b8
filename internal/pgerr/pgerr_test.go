package pgerr_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/projectord/projectord/internal/pgerr"
)

func TestKinds(t *testing.T) {
	state := func(code string) error { return fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: code}) }
	for name, c := range map[string]struct {
		err                       error
		mayPass, ofServer, ofData bool
	}{
		"None":          {nil, false, false, false},
		"Deadlock":      {state("40P01"), true, true, false},
		"Shutdown":      {state("57P01"), true, true, false},
		"LostWhileIdle": {state("25P03"), true, true, false},
		"Standby":       {state("25006"), false, true, false},
		"Timeout":       {state("57014"), false, true, false},
		"DiskFull":      {state("53100"), false, true, false},
		"Check":         {state("23514"), false, false, true},
		"Overflow":      {state("22003"), false, false, true},
		"Trigger":       {state("P0001"), false, false, true},
		"NoTable":       {state("42P01"), false, false, false},
		"ConnectionEnd": {io.ErrUnexpectedEOF, true, true, false},
		"Refused":       {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, true, true, false},
		"FileSystem":    {&fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, false, false, false},
		"GivenUp":       {fmt.Errorf("%w: %w", context.Canceled, io.EOF), false, false, false},
		"Other":         {errors.New("other"), false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := pgerr.MayPass(c.err); got != c.mayPass {
				t.Errorf("MayPass = %t", got)
			}
			if got := pgerr.OfServer(c.err); got != c.ofServer {
				t.Errorf("OfServer = %t", got)
			}
			if got := pgerr.OfData(c.err); got != c.ofData {
				t.Errorf("OfData = %t", got)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	if err := pgerr.Explain(nil); err != nil {
		t.Errorf("Explain(nil) = %v", err)
	}
	_, refused := pgconn.Connect(t.Context(), "postgres://nobody@127.0.0.1:1/x?sslmode=disable")
	for says, err := range map[string]error{
		"the password":          &pgconn.PgError{Code: "28P01"},
		"CREATE":                &pgconn.PgError{Code: "42501"},
		"is full":               &pgconn.PgError{Code: "53100"},
		"is the server running": refused,
	} {
		if got := pgerr.Explain(err); !errors.Is(got, err) || !strings.Contains(got.Error(), says) {
			t.Errorf("Explain(%v) = %v; want that it says %q", err, got, says)
		}
	}
	if plain := errors.New("plain"); pgerr.Explain(plain) != plain {
		t.Error("a plain error was changed")
	}
}
