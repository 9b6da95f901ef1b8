package daemon

import (
	"fmt"
	"strings"
)

// suggestion names the setting that is most like what somebody wrote, if any is.
func suggestion(table []setting, wrote string, written func(name string) string) string {
	var names []string
	for _, s := range table {
		names = append(names, s.name)
		if s.secret {
			names = append(names, s.name+fileSuffix)
		}
	}
	if name := nearest(names, wrote); name != "" {
		return fmt.Sprintf(", do you mean %s?", written(name))
	}
	return ": config print lists them"
}

// nearest returns the name that is most like what somebody wrote, if any is.
func nearest(names []string, wrote string) string {
	plain := strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(wrote))
	best, most := "", len(plain)/3+1
	for _, name := range names {
		if d := distance(plain, name); d <= most {
			best, most = name, d-1
		}
	}
	return best
}

// distance is how many letters have to be changed, added or left out to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			changed := diagonal
			if a[i] != b[j] {
				changed++
			}
			diagonal = row[j+1]
			row[j+1] = min(changed, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
