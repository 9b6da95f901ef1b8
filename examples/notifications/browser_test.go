package main

import (
	"testing"

	"github.com/projectord/projectord/internal/browser"
	"github.com/projectord/projectord/internal/story"
)

// A notification that is sent from the page comes back by what it is. On a narrow screen
// nothing is beside the page.
func TestBrowser(t *testing.T) {
	page, crew := browser.Open(t), story.NewCrew("notifications", "")
	t.Cleanup(crew.Kill)
	c, err := crew.Start(t.Context(), "served", nil, "serve", "--http", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url, err := c.Says(t.Context(), "In a browser: ")
	if err != nil {
		t.Fatal(err)
	}
	page.Go(url)
	page.Wait(waitLong, `document.querySelectorAll("#channels tr").length === 4`)
	page.Eval(`document.forms.send.message.value = "Mind the gap."; document.forms.send.requestSubmit()`, nil)
	page.Wait(waitLong, `/^\d+: security, Mind the gap\.$/.test([...document.querySelectorAll("#events li")].map((row) => row.textContent).find((text) => text.includes("gap")))`)
	var wide int
	page.Eval(`document.body.style.width = "388px", document.body.scrollWidth`, &wide)
	if wide > 420 {
		t.Errorf("a page for a screen of 420 pixels takes %d", wide)
	}
	if m := page.Mistakes(); len(m) > 0 {
		t.Error("the page made mistakes:", m)
	}
}
