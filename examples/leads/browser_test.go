package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/projectord/projectord/internal/browser"
	"github.com/projectord/projectord/internal/testenv"
)

// The page has what changed last above all, whether that is new or not, and rooms by their
// names. On a narrow screen nothing is beside it.
func TestBrowser(t *testing.T) {
	page, server := browser.Open(t), testenv.StartRedis(t)
	client, crew := server.Client(t), newCrew(server.URL())
	t.Cleanup(crew.Kill)
	c, err := crew.Start(t.Context(), "one", []string{"PROJECTORD_LOG_LEVEL=info"}, "run", "--http", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address, err := c.Says(t.Context(), `msg="http is answered" address=`)
	if err != nil {
		t.Fatal(err)
	}
	address, _, _ = strings.Cut(address, " ")
	const soon = 20 * time.Second // a machine may be busy
	shows := func(table, keys string) {
		t.Helper()
		page.Wait(soon, fmt.Sprintf(`[...document.querySelectorAll("#%s tbody tr")].map((row) => row.cells[0].textContent).join() === %q`, table, keys))
	}
	add := func(key string, fields ...any) {
		t.Helper()
		if err := client.XAdd(t.Context(), produced(key, fields...)).Err(); err != nil {
			t.Fatal(err)
		}
	}

	add("sensor_readings:north", reading("room_2", 20, 40)...)
	testenv.Wait(t, soon, func() error {
		_, err := crew.Run(t.Context(), nil, "get", "rooms", "room_2")
		return err
	})
	page.Go("http://" + address + "/")
	shows("rooms", "room_2")
	add("sensor_readings:north", reading("room_1", 21, 40)...)
	shows("rooms", "room_1,room_2")
	page.Wait(soon, `document.querySelector("#climate tbody").textContent === "all2020.50"`)
	for n := range 17 {
		add("leads", "event_type", "lead.created", "lead_id", n, "created_by", "somebody-with-a-long-name@example.com")
		page.Wait(soon, fmt.Sprintf(`document.querySelector("#leads tbody td")?.textContent === "%d"`, n))
	}
	shows("leads", "16,15,14,13,12,11,10,9,8,7,6,5,4,3,2")
	add("leads", "event_type", "lead.contacted", "lead_id", 9, "contacted_by", "ann")
	shows("leads", "9,16,15,14,13,12,11,10,8,7,6,5,4,3,2")
	add("leads", "event_type", "lead.won", "lead_id", 1, "amount", 5)
	shows("leads", "1,9,16,15,14,13,12,11,10,8,7,6,5,4,3")

	var wide int
	page.Eval(`document.body.style.width = "388px", document.body.scrollWidth`, &wide)
	if wide > 420 {
		t.Errorf("a page for a screen of 420 pixels takes %d", wide)
	}
	if m := page.Mistakes(); len(m) > 0 {
		t.Error("the page made mistakes:", m)
	}
}
