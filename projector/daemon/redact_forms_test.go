package daemon

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
)

// A secret is hidden in whatever way it is quoted.
func TestHidingQuoted(t *testing.T) {
	for _, secret := range []string{`ses"ame`, `ses\ame`, "ses\name", "ses&<ame>", "käse/+ %ame", "ses\tame"} {
		text, err := json.Marshal(map[string]string{"a": secret})
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("it", "reason", "of "+secret)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("it", "reason", "of "+secret)
		for _, written := range []string{
			secret, fmt.Sprintf("%q", secret), fmt.Sprintf("%+q", secret), string(text), url.QueryEscape(secret), url.PathEscape(secret), log.String(),
		} {
			if got := hiding([]string{secret}).Replace(written); !strings.Contains(got, hidden) || strings.Contains(got, "ame") {
				t.Errorf("of %q there is left %q", written, got)
			}
		}
	}
}
