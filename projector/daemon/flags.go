package daemon

import (
	"strings"

	"github.com/spf13/pflag"
)

// addFlags adds the flags of a group of settings. They have no defaults as flags: the
// help would print what the environment says, passwords included.
func addFlags(flags *pflag.FlagSet, group string) {
	addSome(flags, func(s *setting) bool { return s.group == group })
}

// addSome adds the flags of some settings.
func addSome(flags *pflag.FlagSet, wanted func(*setting) bool) {
	for _, s := range new(settings).table() {
		if !wanted(&s) {
			continue
		}
		_, isBool := s.into.(boolValue)
		switch {
		case s.unflagged:
		case isBool:
			flags.Bool(s.name, false, s.help)
		case s.initial != "":
			flags.Var(&settingFlag{kind: s.into.kind()}, s.name, s.help+" (default "+s.initial+")")
		default:
			flags.Var(&settingFlag{kind: s.into.kind()}, s.name, s.help)
		}
		if s.secret {
			flags.Var(&settingFlag{kind: "file"}, s.name+fileSuffix, "holds the "+strings.ReplaceAll(s.name, "-", " "))
		}
	}
}

// settingFlag is the flag of a setting: its text, which is read with what other places
// say.
type settingFlag struct{ said, kind string }

func (f *settingFlag) Set(text string) error { f.said = text; return nil }
func (f *settingFlag) String() string        { return f.said }
func (f *settingFlag) Type() string          { return f.kind }
