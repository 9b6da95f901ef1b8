package daemon

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// layer is what one place says about settings: text by name.
type layer struct {
	says map[string]any
	// from says where each was found, for people.
	from map[string]string
}

func newLayer() layer { return layer{make(map[string]any), make(map[string]string)} }

// config is the settings with where each comes from.
type config struct {
	settings
	from map[string]string
}

// load brings the layers together: flags before the environment before the file before
// defaults. It reads files and connects to nothing. Every error is one of usage.
func load(flags *pflag.FlagSet, environ []string) (*config, error) {
	c := &config{from: make(map[string]string)}
	table := c.table()
	environment, file, err := environmentLayer(table, environ)
	if err != nil {
		return nil, usage("%w", err)
	}
	if flag := flags.Lookup(configSetting); flag != nil && flag.Changed {
		file = flag.Value.String()
	}
	fromFile, err := fileLayer(table, file)
	if err != nil {
		return nil, usage("%w", err)
	}
	fromFlags, err := flagLayer(table, flags)
	if err != nil {
		return nil, usage("%w", err)
	}
	defaults := newLayer()
	for _, s := range table {
		defaults.says[s.name], defaults.from[s.name] = s.initial, "default"
	}
	k := koanf.New(".") // no name has one
	for _, l := range []layer{defaults, fromFile, environment, fromFlags} {
		if err := k.Load(confmap.Provider(l.says, ""), nil); err != nil {
			return nil, err
		}
		for name, from := range l.from {
			c.from[name] = from
		}
	}
	for _, s := range table {
		if text := k.String(s.name); text != "" || s.initial != "" {
			if err := s.into.set(text); err != nil {
				return nil, usage("%s: %w", c.where(s.name), err)
			}
		}
	}
	if err := c.check(); err != nil {
		return nil, usage("%w", err)
	}
	return c, nil
}

// where says which setting is meant, in the words it was given by.
func (c *config) where(name string) string {
	if from := c.from[name]; strings.HasPrefix(from, "--") || strings.HasPrefix(from, envPrefix) {
		return from
	} else if from != "default" {
		return name + " in " + from
	}
	return name
}

// secrets returns everything that must not be printed.
func (c *config) secrets() []string {
	var all []string
	for _, s := range c.table() {
		if _, isURL := s.into.(urlValue); s.secret {
			all = append(all, secretsOf(s.into.text(), isURL)...)
		}
	}
	return all
}

// inFlags returns the settings given by flags that hold secrets, which the list of processes
// shows to everybody on the machine.
func (c *config) inFlags() (names []string) {
	for _, s := range c.table() {
		_, isURL := s.into.(urlValue)
		if s.secret && c.from[s.name] == "--"+s.name && s.into.text() != "" && len(secretsOf(s.into.text(), isURL)) > 0 {
			names = append(names, s.name)
		}
	}
	return names
}

// printable returns the text of a setting without what is secret.
func (s *setting) printable() string {
	text := s.into.text()
	switch _, isURL := s.into.(urlValue); {
	case !s.secret || text == "":
		return text
	case isURL:
		return redacted(text)
	}
	return hidden
}

// named returns the setting of a name, also where that is of the file that holds it.
func named(table []setting, name string) (s *setting, inFile bool) {
	for i := range table {
		if table[i].name == name {
			return &table[i], false
		}
		if table[i].secret && table[i].name+fileSuffix == name {
			return &table[i], true
		}
	}
	return nil, false
}

// put takes note of what is said about a setting; key is what the setting is called
// where it is said, which errors begin with.
func (l layer) put(s *setting, inFile bool, key, text, from string) error {
	if _, twice := l.from[s.name]; twice {
		return fmt.Errorf("%s: %s is given already: leave out one of the two", key, s.name)
	}
	l.from[s.name] = from
	if inFile {
		held, err := os.ReadFile(text)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		text, l.from[s.name] = strings.TrimRight(string(held), "\r\n"), from+" "+text
		if text == "" {
			return fmt.Errorf("%s: the file %s is empty", key, l.from[s.name])
		}
	}
	l.says[s.name] = text
	return nil
}

// fileLayer reads a file, none where its name is empty.
func fileLayer(table []setting, name string) (layer, error) {
	l := newLayer()
	if name == "" {
		return l, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return l, fmt.Errorf("reading the configuration: %w", err)
	}
	// Nodes have what is written: as values 012345 would be 5349, and 1.10 be 1.1.
	var says map[string]yaml.Node
	if err := yaml.Unmarshal(text, &says); err != nil {
		return l, fmt.Errorf("%s: %w", name, err)
	}
	for key, said := range says {
		s, inFile := named(table, key)
		if s == nil {
			return l, fmt.Errorf("%s: there is no setting %q%s", name, key, suggestion(table, key, func(name string) string { return name }))
		}
		plain, err := asWritten(&said)
		if err != nil {
			return l, fmt.Errorf("%s: line %d: %s: %w", name, said.Line, key, err)
		}
		if err := l.put(s, inFile, key, plain, name); err != nil {
			return l, fmt.Errorf("%s: %w", name, err)
		}
	}
	return l, nil
}

// asWritten returns a value as it is written in YAML, those of a list with commas between.
func asWritten(said *yaml.Node) (string, error) {
	if said.Kind == yaml.AliasNode {
		said = said.Alias
	}
	if said.Kind != yaml.SequenceNode {
		return scalar(said)
	}
	var all []string
	for _, one := range said.Content {
		text, err := scalar(one)
		if err != nil {
			return "", err
		}
		all = append(all, text)
	}
	return strings.Join(all, ","), nil
}

// scalar returns the text of a single value. Its errors do not repeat it.
func scalar(said *yaml.Node) (text string, err error) {
	if said.Kind == yaml.AliasNode {
		said = said.Alias
	}
	switch {
	case said.Kind != yaml.ScalarNode:
		return "", errors.New("it has a value, not settings below it")
	case said.ShortTag() == "!!null":
		return "", errors.New("it has no value")
	case said.ShortTag() == "!!binary":
		err = said.Decode(&text)
		return text, err
	}
	return said.Value, nil
}

// notOurs are variables that Kubernetes sets for a service of the name projectord, and
// those of the tests.
var notOurs = regexp.MustCompile(`^PROJECTORD_(SERVICE_(HOST|PORT)(_.*)?|PORT|PORT_\d+_(TCP|UDP|SCTP).*|TEST_.*)$`)

// environmentLayer reads the environment, and which file that names.
func environmentLayer(table []setting, environ []string) (l layer, file string, err error) {
	l = newLayer()
	for _, variable := range environ {
		key, text, _ := strings.Cut(variable, "=")
		name, ours := strings.CutPrefix(key, envPrefix)
		if !ours || notOurs.MatchString(key) {
			continue
		}
		if key == env(configSetting) {
			file = text
			continue
		}
		s, inFile := named(table, strings.ReplaceAll(strings.ToLower(name), "_", "-"))
		if s == nil {
			return l, "", fmt.Errorf("the environment variable %s is no setting%s", key, suggestion(table, name, env))
		}
		if text == "" {
			continue // as good as not set, which is all that some can do in a compose file
		}
		if err := l.put(s, inFile, key, text, key); err != nil {
			return l, "", err
		}
	}
	return l, file, nil
}

// flagLayer reads the flags that were used.
func flagLayer(table []setting, flags *pflag.FlagSet) (layer, error) {
	l := newLayer()
	var err error
	flags.Visit(func(flag *pflag.Flag) {
		if s, inFile := named(table, flag.Name); s != nil && err == nil {
			err = l.put(s, inFile, "--"+flag.Name, flag.Value.String(), "--"+flag.Name)
		}
	})
	return l, err
}
