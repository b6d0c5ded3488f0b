package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"postbus.dev/deploy/e2e/world"
	"postbus.dev/events"
)

// neighbors: whichever publisher has an account's lane makes its posts, and
// whichever is asked answers for them and tells of them as they pass.
func (h house) neighbors() {
	h.create("neighbor")
	account, _ := h.account("neighbor")
	one, two := h.d.Publishers[0], h.d.Publishers[1]
	h.foreignLane(account, one, two)
	h.foreignLane(account, two, one)
}

func (h house) foreignLane(account string, asked, holder *world.Process) {
	h.Helper()
	h.w.Eventually(60*time.Second, "the lane is free", func() bool {
		return h.w.Count(`SELECT count(*) FROM account_lanes WHERE account_id = $1 AND owner IS NOT NULL`, account) == 0
	})
	before := h.fence(account)
	id := h.asks(holder, account, "keeps the lane", 4*time.Second, http.StatusAccepted)
	followed := asked.Follow(id)
	h.asks(asked, account, "made by the other", 0, http.StatusOK)
	if got := followed(); !slices.Equal(got, []string{"snapshot", events.TypePublishCompleted}) {
		h.Errorf("followed at the other process: %v", got)
	}
	if now := h.fence(account); now != before+1 {
		h.Errorf("the lane has changed hands %d times", now-before)
	}
}

func (h house) fence(account string) int {
	return h.w.Count(`SELECT coalesce(max(fence), 0) FROM account_lanes WHERE account_id = $1`, account)
}

// asks asks one process for a post that is due after a while, and returns its
// publish.
func (h house) asks(p *world.Process, account, caption string, due time.Duration, want int) string {
	h.Helper()
	body := map[string]string{"mediaType": "IMAGE", "mediaUrl": "https://example.com/image.jpg", "caption": caption, "accountId": account}
	wait := "wait=30"
	if due > 0 {
		body["publishAt"], wait = in(due), "respond-async"
	}
	raw, _ := json.Marshal(body)
	status, text := p.HTTP(http.MethodPost, "/api/instagram/publish", string(raw), "Prefer", wait)
	var answer struct{ Data struct{ PublishID string } }
	if err := json.Unmarshal([]byte(text), &answer); err != nil || status != want {
		h.Fatalf("%q is answered %d %s", caption, status, text)
	}
	return answer.Data.PublishID
}

// onlookers follow at each publisher what does not end before the publishers do;
// that does not hold them up.
func (h house) onlookers() (letGo func()) {
	h.Helper()
	var streams []func() []string
	for i, p := range h.d.Publishers {
		id := h.asks(p, h.w.Accounts[0], fmt.Sprint("after this test ", i), time.Hour, http.StatusAccepted)
		streams = append(streams, p.Follow(id))
	}
	return func() {
		for i, p := range h.d.Publishers {
			if got := streams[i](); !slices.Equal(got, []string{"snapshot"}) || strings.Contains(p.Log(), "drain http requests") {
				h.Errorf("who followed saw %v, and held up a publisher that stops", got)
			}
		}
	}
}
