package testenv

import "go.uber.org/goleak"

// NoLeaks is a check for [Main]: no goroutine may be left. It gives those of
// closed clients, which look around once a second, time to notice.
func NoLeaks() error {
	err := goleak.Find()
	for range 10 {
		if err == nil {
			break
		}
		err = goleak.Find()
	}
	return err
}
