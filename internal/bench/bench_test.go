package bench

import (
	"testing"

	"github.com/projectord/projectord/internal/testenv"
)

func TestMain(m *testing.M) {
	Child()
	testenv.Main(m)
}

func TestRun(t *testing.T) {
	t.Parallel()
	report, err := Run(t.Context(), Config{RedisURL: testenv.RedisURL(t), Events: 2_000, Streams: 200, Only: []string{"append"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Failed(); err != nil {
		t.Fatal(err)
	}
	for _, row := range report.Rows {
		if row.Value == nil || row.Ratio == nil || row.Spread == nil {
			t.Errorf("%+v", row)
		}
	}
}
