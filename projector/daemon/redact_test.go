package daemon

import (
	"slices"
	"strings"
	"testing"
)

// What is secret in a URL is not printed, wherever somebody has put it.
func TestRedactedURLs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"redis://ann:sesame@h:1/0":                            "redis://ann:xxxxx@h:1/0",
		"redis+cluster://h:1?addr=u2:sesame@h:2&addr=h:3":     "redis+cluster://h:1?addr=u2%3Axxxxx%40h%3A2&addr=h%3A3",
		"redis+cluster://h:1?addr=redis%3A%2F%2F:ses%40ame@h": "redis+cluster://h:1?addr=redis%3A%2F%2F%3Axxxxx%40h",
		"redis+cluster://h:1?addr=h:2":                        "redis+cluster://h:1?addr=h:2",
		"postgres://h/d?password=sesame":                      "postgres://h/d?password=xxxxx",
		"postgres://h/d?user=ann@corp":                        "postgres://h/d?user=ann@corp",
	} {
		if got := redacted(text); got != want {
			t.Errorf("%s is printed as %s, want %s", text, got, want)
		}
	}
	if all := secretsOf("redis+cluster://h:1?addr=u2:sesame@h:2", true); !slices.Contains(all, "sesame") {
		t.Errorf("the secrets are %s", strings.Join(all, " "))
	}
}
