package daemon

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/projectord/projectord/projector/adopt"
)

// adoptedLooked is how many keys a source may have for doctor to look at each.
const adoptedLooked = 10_000

// lookAtAdopted looks at what the namespace keeps about its sources. That takes neither their
// code nor the Redis that their keys are in.
func lookAtAdopted(ctx context.Context, p *patient) (found []finding, _ error) {
	all, err := countSources(ctx, p.client, p.Namespace)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	ledger, err := adopt.NewLedger(p.client, p.Namespace)
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		var keys []adopt.Key
		if max(c.keys, c.parked) <= adoptedLooked {
			if keys, err = ledger.Keys(ctx, c.name); err != nil {
				return found, err
			}
		}
		found = append(found, p.adoptedFindings(c, keys)...)
	}
	return found, nil
}

// adoptedFindings tells what is parked and what was lost of a source. The keys are nil where
// there are too many to look at.
func (p *patient) adoptedFindings(c sourceCount, keys []adopt.Key) (found []finding) {
	list := p.call("adopted ls %s", c.name)
	f := finding{Subject: "source " + c.name}
	if keys == nil && max(c.keys, c.parked) > 0 {
		f.Severity, f.Finding = isInfo, "it has too many keys to look for lost entries in each"
		f.Evidence, f.Fix = fmt.Sprintf("%s, %s are looked at", many(c.keys, "key"), count(adoptedLooked)), list+" lists them, with what each has lost"
		found = append(found, f)
	}
	var parked, lost []adopt.Key
	var entries int64
	for _, k := range keys {
		if k.Parked != nil {
			parked = append(parked, k)
		}
		if k.Position.Lost > 0 {
			lost = append(lost, k)
			entries += k.Position.Lost
		}
	}
	switch {
	case len(parked) > 0:
		first := slices.MinFunc(parked, func(a, b adopt.Key) int { return a.Parked.Since.Compare(b.Parked.Since) })
		name := shellWord(first.Name)
		f.Severity, f.Finding = isError, many(len(parked), "key")+" parked: nothing behind the entry that one stands at is adopted"
		f.Evidence = fmt.Sprintf("%s at entry %s since %s: %s", first.Name, first.Parked.Entry, first.Parked.Since.UTC().Format(time.RFC3339), clip(first.Parked.Reason, 200))
		f.Fix = fmt.Sprintf("%s lists them; mend what decodes the entries and start its daemons anew, which try again, or %s; or leave the entry out: %s", list,
			p.call("adopted retry %s %s", c.name, name), p.call("adopted skip %s %s %s --reason WHY --yes", c.name, name, first.Parked.Entry))
		found = append(found, f)
	case keys == nil && c.parked > 0:
		f.Severity, f.Finding = isError, many(c.parked, "key")+" parked: nothing behind the entry that one stands at is adopted"
		f.Evidence, f.Fix = fmt.Sprintf("parked = %s, keys = %s", count(c.parked), count(c.keys)), list+" says at which entries, and why; "+p.call("adopted retry")+" and "+p.call("adopted skip")+" have them go on"
		found = append(found, f)
	}
	if len(lost) > 0 {
		most := slices.MaxFunc(lost, func(a, b adopt.Key) int { return cmp.Compare(a.Position.Lost, b.Position.Lost) })
		f.Severity, f.Finding = isInfo, "entries were trimmed or deleted before they were adopted: no read model has them"
		f.Evidence = fmt.Sprintf("lost = %s in %s, most of them in %s: %s", count(entries), many(len(lost), "key"), most.Name, count(most.Position.Lost))
		f.Fix = "have the producer keep more (MAXLEN, MINID) than is added while no daemon runs; the number stays, and " + list + " says whether it grows"
		found = append(found, f)
	}
	return found
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_.:/@%+,-]+$`)

// shellWord writes a word as a shell reads it.
func shellWord(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
