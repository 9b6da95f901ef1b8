package daemon

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/adopt"
)

// A parked key shows wherever one looks for what is parked, also by a program that does not
// have the code of the source. What doctor says to do about it is gone afterwards.
func TestParkedKeysShow(t *testing.T) {
	t.Parallel()
	f, keys, _ := parkedTill(t)
	const told = "2 keys of source till are parked: adopted ls till says why"
	other := f.as(App{Name: "projectord"})
	other.want(exitDone, words("status"), told)
	other.wantValue(2, exitDone, "status", "adopted_parked.0.keys")
	other.want(exitDone, words("parked ls"), "no stream is parked", told)
	other.wantValue("till", exitDone, "parked ls", "adopted_parked.0.source")
	other.wantValue("[]", exitDone, "parked ls carts", "adopted_parked")
	v, r := other.diagnosis()
	if want := (symptom{"adopted", isError, "which is no number", "projectord adopted retry till " + keys[0][:len(keys[0])-1]}); !want.in(v.Findings) || r.code != exitWrong {
		t.Errorf("doctor ends with %d and says %s", r.code, r.out)
	}
	for range keys {
		f.byShell(from(t, f.fixOf("adopted", "which is no number"), "shop adopted skip"))
	}
	if err := f.cured("adopted", ""); err != nil {
		t.Error(err)
	}
	f.want(exitDone, words("parked ls"), "nothing is parked")
	f.wantValue("[]", exitDone, "status", "adopted_parked")
}

// Lost entries are told of by doctor as long as the ledger has them.
func TestDoctorFindsLost(t *testing.T) {
	t.Parallel()
	f := shop(t)
	key := f.namespace + "_till"
	for range 5 {
		f.xadd(key, "cart", "1", "item", "tea", "qty", "2")
	}
	if err := testenv.Redis(t).XTrimMaxLen(t.Context(), key, 2).Err(); err != nil {
		t.Fatal(err)
	}
	f.as(adoptingApp(key)).work(f.says(key, "adopted", "ls"))
	v, r := f.diagnosis()
	if want := (symptom{"adopted", isInfo, "lost = 3 in 1 key, most of them in " + key + ": 3", "adopted ls till"}); !want.in(v.Findings) {
		t.Errorf("doctor says %s", r.out)
	}
}

// The oldest parking is told of, keys are written as a shell takes them, and a source of too
// many keys is not looked at key by key.
func TestAdoptedFindings(t *testing.T) {
	t.Parallel()
	p := &patient{program: &program{app: App{Name: "shop"}}}
	now := time.Now()
	keys := []adopt.Key{
		{Source: "till", Name: "b", Parked: &adopt.Parking{Entry: adopt.ID{Ms: 7}, Reason: "new", Since: now}},
		{Source: "till", Name: "till's *", Parked: &adopt.Parking{Entry: adopt.ID{Ms: 5}, Reason: "old", Since: now.Add(-time.Hour)}},
	}
	for _, c := range []struct {
		name  string
		count sourceCount
		keys  []adopt.Key
		want  []symptom
	}{
		{"None", sourceCount{"till", 0, 0}, nil, nil},
		{"InOrder", sourceCount{"till", 1, 0}, []adopt.Key{{Source: "till", Name: "a"}}, nil},
		{"Parked", sourceCount{"till", 2, 2}, keys, []symptom{{"", isError, ": old", `shop adopted skip till 'till'\''s *' 5-0 --reason`}}},
		{"TooMany", sourceCount{"till", 20_000, 3}, nil, []symptom{
			{"", isInfo, "20,000 keys, 10,000 are looked at", "shop adopted ls till"}, {"", isError, "parked = 3, keys = 20,000", "shop adopted ls till"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := p.adoptedFindings(c.count, c.keys)
			missing := slices.ContainsFunc(c.want, func(s symptom) bool { return !s.in(found) })
			if len(found) != len(c.want) || missing {
				t.Errorf("found %+v", found)
			}
		})
	}
	if got := (parkedKeysView{"crm", 1}).String(); !strings.HasPrefix(got, "1 key of source crm is parked: ") {
		t.Error(got)
	}
}
