package eventstore

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxCategoryBytes = 64
	maxIDBytes       = 200
)

// StreamID names one stream: a category, which says what kind of entity it
// is, and the id of the entity. Its text form is category-id, for example
// "cart-42". The zero StreamID names nothing. StreamIDs are comparable with ==
// and can be map keys.
type StreamID struct {
	name     string // category + "-" + id
	category uint8  // length of the category in name
}

// NewStreamID returns the id of a stream. The category matches
// [a-z][a-z0-9_]{0,63}; the id is 1 to 200 bytes of UTF-8 without control
// characters, and may hold any braces, colons, spaces or dashes. Anything else
// is an error that wraps [ErrInvalidStream].
func NewStreamID(category, id string) (StreamID, error) {
	if err := CheckCategory(category); err != nil {
		return StreamID{}, err
	}
	if err := checkID(id); err != nil {
		return StreamID{}, fmt.Errorf("%w: id %q of category %q %w", ErrInvalidStream, clip(id), category, err)
	}
	return StreamID{name: category + "-" + id, category: uint8(len(category))}, nil
}

// ParseStreamID reads the text form, category-id. The category ends at the
// first dash, so ids may contain dashes. Errors wrap [ErrInvalidStream].
func ParseStreamID(s string) (StreamID, error) {
	category, id, found := strings.Cut(s, "-")
	if !found {
		return StreamID{}, fmt.Errorf("%w: %q has no dash; a stream is written category-id, for example cart-42", ErrInvalidStream, clip(s))
	}
	return NewStreamID(category, id)
}

// MustStreamID is [NewStreamID] for constants and tests: it panics on error.
func MustStreamID(category, id string) StreamID {
	s, err := NewStreamID(category, id)
	if err != nil {
		panic(err)
	}
	return s
}

// Category returns the part before the first dash.
func (s StreamID) Category() string { return s.name[:s.category] }

// ID returns the part after the first dash.
func (s StreamID) ID() string {
	if s.name == "" {
		return ""
	}
	return s.name[s.category+1:]
}

// String returns the text form, category-id. It does not allocate.
func (s StreamID) String() string { return s.name }

// IsZero reports whether s names nothing.
func (s StreamID) IsZero() bool { return s.name == "" }

// MarshalText implements [encoding.TextMarshaler].
func (s StreamID) MarshalText() ([]byte, error) { return []byte(s.name), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *StreamID) UnmarshalText(text []byte) error {
	parsed, err := ParseStreamID(string(text))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}

// CheckCategory returns an error that wraps [ErrInvalidStream] unless category
// matches [a-z][a-z0-9_]{0,63}.
func CheckCategory(category string) error {
	ok := len(category) > 0 && len(category) <= maxCategoryBytes && 'a' <= category[0] && category[0] <= 'z'
	for i := 1; ok && i < len(category); i++ {
		c := category[i]
		ok = 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_'
	}
	if !ok {
		return fmt.Errorf("%w: category %q does not match [a-z][a-z0-9_]{0,63}", ErrInvalidStream, clip(category))
	}
	return nil
}

func checkID(id string) error {
	switch {
	case id == "":
		return fmt.Errorf("is empty")
	case len(id) > maxIDBytes:
		return fmt.Errorf("is %d bytes long, more than %d", len(id), maxIDBytes)
	case !utf8.ValidString(id):
		return fmt.Errorf("is not valid UTF-8")
	case strings.ContainsFunc(id, unicode.IsControl):
		return fmt.Errorf("has a control character")
	}
	return nil
}

// clip keeps hostile input from filling an error message.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
