package main

import (
	"testing"

	"github.com/projectord/projectord/internal/browser"
)

// What the page shows, and does when its buttons are pressed.
func TestBrowser(t *testing.T) {
	page := browser.Open(t)
	page.Go(serving(t) + "/")
	page.Wait(waitLong, `["high", "low"].every(lane => [...document.querySelectorAll("#lanes table")].some(t => t.caption.textContent === lane && /picker-\d/.test(t.tBodies[0].textContent)))`)
	page.Wait(waitLong, `/[1-9]\d* picking, [1-9]\d* picked/.test(document.getElementById("counts").textContent) && document.querySelectorAll("#picked tr").length > 0`)
	page.Wait(waitLong, `/there is no account of eve/.test(document.getElementById("parked").textContent)`)
	page.Eval(`document.getElementById("open").click()`, nil)
	// Pressed again where the bank has no account yet.
	page.Wait(waitLong, `(b => (b && b.click(), !b))(document.querySelector("#parked button"))`)
	if m := page.Mistakes(); len(m) > 0 {
		t.Error("the page made mistakes:", m)
	}
}
