package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
)

// appendedView says where an event is.
type appendedView struct {
	Stream  string `json:"stream"`
	Version uint64 `json:"version"`
	ID      string `json:"id"`
	// Duplicate says that it was there already.
	Duplicate bool `json:"duplicate"`
}

func (v appendedView) show(p *page) {
	already := ""
	if v.Duplicate {
		already = ", where it was already"
	}
	p.line("%s@%d%s  %s", v.Stream, v.Version, already, v.ID)
}

func newStreamsAppend(p *program) *cobra.Command {
	a := &appending{program: p}
	cmd := &cobra.Command{
		Use:   "append STREAM",
		Short: "Append an event to a stream",
		Long: `Appends one event, whose payload is made of JSON: whole numbers become integers, texts
stay texts. It creates the namespace and the stream where they do not exist.

--expect guards against others: the version the stream has, none where it must not
exist, exists where it must, or any. After an error that says that the outcome is
unknown, the same command with the --id it names finds out: nothing is appended twice.`,
		Example: fmt.Sprintf(`  %[1]s streams append cart-42 --type item_added --data '{"item":"tea","qty":2}'
  %[1]s streams append cart-42 --type checked_out --expect 7
  %[1]s streams append cart-42 --type item_added --data @event.json`, p.app.name()),
		Args: arguments("STREAM"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.run(cmd.Context(), args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVar(&a.event.Type, "type", "", "`name` of the event")
	flags.IntVar(&a.event.SchemaVersion, "schema", 1, "`version` of the schema of its payload")
	flags.StringVar(&a.data, "data", "{}", "payload in `JSON`; @FILE reads it from a file, - from the standard input")
	flags.StringVar(&a.expect, "expect", "any", "`version` the stream has, or any, none, exists")
	flags.StringVar(&a.id, "id", "", "`UUID` of the event (default a new one)")
	flags.StringVar(&a.event.Metadata.Correlation, "correlation", "", "`id` of what it is part of")
	flags.StringVar(&a.event.Metadata.Causation, "causation", "", "`id` of what caused it")
	flags.StringArrayVar(&a.extra, "extra", nil, "`key=text` of what else is known about it; may be given several times")
	addSome(flags, func(s *setting) bool { return slices.Contains(storeSettings, s.name) })
	return cmd
}

// storeSettings are those that concern whoever appends.
var storeSettings = []string{"partitions", "replicas", "replica-timeout"}

// appending is one run of the command.
type appending struct {
	*program
	event            eventstore.Event
	data, expect, id string
	extra            []string
}

func (a *appending) run(ctx context.Context, name string) error {
	stream, err := eventstore.ParseStreamID(name)
	if err != nil {
		return err
	}
	expected, err := expectation(a.expect)
	if err != nil {
		return err
	}
	if a.event.Type == "" {
		return usage("--type is missing: it is the name of the event")
	}
	if a.event.ID, err = eventID(a.id); err != nil {
		return err
	}
	if a.event.Metadata.Extra, err = extras(a.extra); err != nil {
		return err
	}
	if a.event.Data, err = a.payload(); err != nil {
		return err
	}
	if err := a.decodable(stream, a.event); err != nil {
		return err
	}
	s, err := a.open(ctx, redisstore.Config{Partitions: a.Partitions, Replicas: a.Replicas, ReplicaTimeout: a.ReplicaTimeout}, 0)
	if err != nil {
		return err
	}
	defer s.close()
	v, err := s.append(ctx, stream, expected, a.event)
	if conflict := new(eventstore.ConflictError); errors.As(err, &conflict) && conflict.Actual > 0 && !conflict.Deleted && expected != eventstore.Any {
		return fmt.Errorf("%w: %s shows what was appended; decide on that, and --expect %d appends behind it", err, a.call("streams show %s", stream), conflict.Actual)
	}
	if err != nil {
		return err
	}
	return a.print(v)
}

// append appends an event, which has an id.
func (s *space) append(ctx context.Context, stream eventstore.StreamID, expected eventstore.ExpectedVersion, e eventstore.Event) (appendedView, error) {
	at, err := s.backends.Store.Append(ctx, stream, expected, e)
	if errors.Is(err, eventstore.ErrOutcomeUnknown) || errors.Is(err, eventstore.ErrNotReplicated) {
		err = fmt.Errorf("%w: the same with the id %s finds out, and appends nothing twice", err, e.ID)
	}
	return appendedView{stream.String(), uint64(at.Last), e.ID.String(), at.Duplicate}, err
}

func eventID(text string) (uuid.UUID, error) {
	if text == "" {
		return uuid.NewV7()
	}
	id, err := uuid.Parse(text)
	if err != nil || id == uuid.Nil {
		return id, usage("--id is a UUID, not %q", text)
	}
	return id, nil
}

// extras makes metadata of what was given as KEY=TEXT.
func extras(given []string) (map[string]string, error) {
	if len(given) == 0 {
		return nil, nil
	}
	all := make(map[string]string, len(given))
	for _, pair := range given {
		key, text, is := strings.Cut(pair, "=")
		switch _, twice := all[key]; {
		case !is || key == "":
			return nil, usage("--extra is a key and a text with = between, not %q", pair)
		case twice:
			return nil, usage("--extra is given twice for %q", key)
		}
		all[key] = text
	}
	return all, nil
}

func expectation(text string) (eventstore.ExpectedVersion, error) {
	switch text {
	case "any":
		return eventstore.Any, nil
	case "none":
		return eventstore.NoStream, nil
	case "exists":
		return eventstore.StreamExists, nil
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil || v < 0 {
		return 0, usage("--expect is any, none, exists or a version, not %q", text)
	}
	return eventstore.Exact(eventstore.Version(v)), nil
}

// payload returns the payload in msgpack.
func (a *appending) payload() ([]byte, error) {
	text := []byte(a.data)
	var err error
	if a.data == "-" {
		text, err = io.ReadAll(io.LimitReader(a.in, eventstore.MaxEventBytes+1))
	} else if file, found := strings.CutPrefix(a.data, "@"); found {
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, usage("--data: %w", err)
	}
	packed, err := msgpacked(text)
	if err != nil {
		return nil, usage("--data is %w", err)
	}
	return packed, nil
}

// msgpacked returns a value of JSON as a payload. Its errors say what the text is instead.
// What could only be stored as something else is refused.
func msgpacked(text []byte) ([]byte, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("no JSON: it is not UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	var whole json.RawMessage
	if err := decoder.Decode(&whole); err != nil {
		return nil, fmt.Errorf("no JSON: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one value of JSON")
	}
	if half := halfOf(whole); half != "" {
		return nil, fmt.Errorf("no payload: %s is half of a character, and no text has that", half)
	}
	decoder = json.NewDecoder(bytes.NewReader(whole))
	decoder.UseNumber()
	data, err := typed(decoder)
	if err != nil {
		return nil, fmt.Errorf("no payload: %w", err)
	}
	return eventstore.MsgPack{}.Marshal(data)
}

// halfOf returns the first escape in valid JSON that is half of a surrogate pair.
func halfOf(text []byte) string {
	unit := func(at int) (rune, bool) {
		if at+6 > len(text) || text[at] != '\\' || text[at+1] != 'u' {
			return 0, false
		}
		n, err := strconv.ParseUint(string(text[at+2:at+6]), 16, 16)
		return rune(n), err == nil
	}
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		r, is := unit(i)
		if !is {
			i++ // what is escaped, which may be a backslash
			continue
		}
		if utf16.IsSurrogate(r) {
			low, _ := unit(i + 6)
			if utf16.DecodeRune(r, low) == utf8.RuneError {
				return string(text[i : i+6])
			}
			i += 6
		}
		i += 5
	}
	return ""
}

// typed reads the next value of JSON, which is valid. Whole numbers become integers.
func typed(of *json.Decoder) (any, error) {
	token, err := of.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case json.Number:
		return typedNumber(v.String())
	case json.Delim:
		if v == '{' {
			return typedObject(of)
		}
		return typedArray(of)
	}
	return token, nil
}

func typedObject(of *json.Decoder) (any, error) {
	object := make(map[string]any)
	for of.More() {
		token, err := of.Token()
		if err != nil {
			return nil, err
		}
		key := token.(string)
		if _, twice := object[key]; twice {
			return nil, fmt.Errorf("the key %q is given twice", clip(key, 100))
		}
		if object[key], err = typed(of); err != nil {
			return nil, err
		}
	}
	_, err := of.Token()
	return object, err
}

func typedArray(of *json.Decoder) (any, error) {
	array := []any{}
	for of.More() {
		v, err := typed(of)
		if err != nil {
			return nil, err
		}
		array = append(array, v)
	}
	_, err := of.Token()
	return array, err
}

func typedNumber(text string) (any, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return n, nil
	}
	if !strings.ContainsAny(text, ".eE") {
		return nil, fmt.Errorf("the number %s has more than 64 bits: as a text it would be kept", clip(text, 100))
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, fmt.Errorf("the number %s does not fit", clip(text, 100))
	}
	return f, nil
}

// decodable refuses an event that the program's own code could not decode: it would park
// its stream.
func (p *program) decodable(stream eventstore.StreamID, e eventstore.Event) error {
	if p.app.Events == nil {
		return nil
	}
	_, err := p.app.Events.Decode(&eventstore.Recorded{Stream: stream, Version: 1, Event: e})
	if of := (*eventstore.EventError)(nil); errors.As(err, &of) {
		err = of.Err // it has no version yet
	}
	switch {
	case err == nil:
		return nil
	case !p.app.Events.Knows(e.Type):
		return usage("the event would park its stream, because %s knows no event of type %q: is that spelt as in its code?", p.app.name(), clip(e.Type, 100))
	case errors.Is(err, eventstore.ErrNewerSchema):
		return usage("the event would park its stream, because %s knows no schema %d of %s, only older ones", p.app.name(), e.SchemaVersion, e.Type)
	}
	return usage("the event would park its stream, because it cannot be decoded: %w", err)
}
