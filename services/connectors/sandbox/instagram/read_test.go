package instagram_test

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"postbus.dev/services/connectors/sandbox/instagram"
	"postbus.dev/services/connectors/sandbox/stage"
)

func stageCalls() stage.CallFilter { return stage.CallFilter{Provider: instagram.Name} }

// captions walks through all pages by cursor.
func (b *bundle) captions(pairs ...string) (all []string, pages int) {
	b.t.Helper()
	after := ""
	for {
		q := append([]string{"fields", "caption"}, pairs...)
		if after != "" {
			q = append(q, "after", after)
		}
		r := b.call("GET", "/{ig}/media", q...)
		for _, it := range b.data(r) {
			all = append(all, it["caption"].(string))
		}
		pages++
		p, _ := r.body["paging"].(map[string]any)
		if p == nil || p["next"] == nil {
			return all, pages
		}
		after, _ = p["cursors"].(map[string]any)["after"].(string)
	}
}

func TestTheListIsNewestFirstInSmallPages(t *testing.T) {
	behavior := instagram.Hostile()
	behavior.Foreign = instagram.Foreign{}
	inBubble(t, behavior, func(b *bundle) {
		for i := range 8 {
			b.post(fmt.Sprint(i))
		}
		time.Sleep(time.Minute)
		all, pages := b.captions("limit", "25")
		if got := strings.Join(all, ""); got != "76543210" || pages != 3 {
			t.Errorf("%s in %d pages", got, pages)
		}
		if all, pages = b.captions("limit", "2"); strings.Join(all, "") != "76543210" || pages != 4 {
			t.Errorf("%v in %d pages of 2", all, pages)
		}
	})
}

func TestTheLinkToTheNextPageWorksAndHoldsTheToken(t *testing.T) {
	behavior := instagram.Hostile()
	behavior.Foreign = instagram.Foreign{}
	inBubble(t, behavior, func(b *bundle) {
		for i := range 4 {
			b.post(fmt.Sprint(i))
		}
		time.Sleep(time.Minute)
		r := b.call("GET", "/{ig}/media", "fields", "caption")
		next, err := url.Parse(r.body["paging"].(map[string]any)["next"].(string))
		if err != nil || next.Query().Get("access_token") != b.acct.Token {
			t.Fatalf("next %v: %v", next, err)
		}
		next.Path = strings.TrimPrefix(next.Path, "/instagram")
		items := b.data(b.serve(httptest.NewRequest("GET", next.RequestURI(), nil)))
		if len(items) != 1 || items[0]["caption"] != "0" {
			t.Errorf("%v", items)
		}
	})
}

func TestAPostComesIntoTheListAfterItsLag(t *testing.T) {
	behavior := instagram.Faithful()
	behavior.Publish = instagram.Range{}
	inBubble(t, behavior, func(b *bundle) {
		b.fault(stage.Fault{Switch: "list_lag", Delay: stage.Duration(30 * time.Second), Count: 1})
		id := b.post("late")
		time.Sleep(30*time.Second - time.Millisecond)
		if items := b.data(b.call("GET", "/{ig}/media")); len(items) != 0 {
			t.Errorf("listed before its lag: %v", items)
		}
		b.id(b.call("GET", "/"+id, "fields", "id"))
		time.Sleep(time.Millisecond)
		if items := b.data(b.call("GET", "/{ig}/media")); len(items) != 1 {
			t.Errorf("not listed after its lag: %v", items)
		}
	})
}

func TestTheListCanBeBoundedByTime(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		b.post("old")
		time.Sleep(time.Hour)
		mark := strconv.FormatInt(time.Now().Unix(), 10)
		b.post("new")
		time.Sleep(time.Minute)
		if all, _ := b.captions("since", mark); len(all) != 1 || all[0] != "new" {
			t.Errorf("since: %v", all)
		}
		if all, _ := b.captions("until", mark); len(all) != 1 || all[0] != "old" {
			t.Errorf("until: %v", all)
		}
		for _, bad := range [][]string{{"since", "yesterday"}, {"limit", "0"}, {"after", "nonsense"}} {
			if r := b.call("GET", "/{ig}/media", bad...); r.code() != "100" {
				t.Errorf("%v: %v", bad, r.body)
			}
		}
	})
}

func TestFieldsMayBeMissingOrRefused(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		b.post("hello @ada")
		list := func() reply { return b.call("GET", "/{ig}/media", "fields", "id,caption,media_product_type") }
		b.fault(stage.Fault{Switch: "fields_absent", Count: 1})
		if it := b.data(list())[0]; it["caption"] != nil || it["media_product_type"] != nil || it["id"] == nil {
			t.Errorf("absent: %v", it)
		}
		b.fault(stage.Fault{Switch: "fields_refused", Count: 2})
		if r := list(); r.code() != "100" {
			t.Errorf("refused: %v", r.body)
		}
		if r := b.call("GET", "/{ig}/media", "fields", "id"); r.code() != "" {
			t.Errorf("refused without those fields: %v", r.body)
		}
		b.st.Faults.Clear(0)
		b.fault(stage.Fault{Switch: "caption_without_at", Count: 1})
		if it := b.data(list())[0]; it["caption"] != "hello ada" {
			t.Errorf("without @: %v", it)
		}
		b.fault(stage.Fault{Switch: "caption_rewritten", Count: 1})
		if it := b.data(list())[0]; it["caption"] != "hello\n@ada " {
			t.Errorf("rewritten: %q", it["caption"])
		}
		b.fault(stage.Fault{Switch: "list_empty", Count: 1})
		if items := b.data(list()); len(items) != 0 {
			t.Errorf("empty: %v", items)
		}
		for _, path := range []string{"/{ig}/media", "/" + b.posts()[0].ID, "/" + b.posts()[0].ContainerID, "/me"} {
			if r := b.call("GET", path, "fields", "id,nonsense"); r.code() != "100" {
				t.Errorf("unknown field on %s: %v", path, r.body)
			}
		}
	})
}

func TestWhatIsNotThereOrNotOursCannotBeRead(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		con := b.image("x")
		post := b.post("y")
		other, err := b.ig.Account(stage.Account{Username: "eve"})
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/17800000000000000", "/17900000000000000", "/abc", "/" + b.acct.AppID + "/media"} {
			if r := b.call("GET", path); r.code() != "100/33" {
				t.Errorf("%s: %v", path, r.body)
			}
		}
		if r := b.call("GET", "/"+other.ID+"/media"); r.code() != "10" {
			t.Errorf("list of another account: %v", r.body)
		}
		for _, id := range []string{con, post} {
			if r := b.call("GET", "/"+id, "access_token", other.Token); r.code() != "100/33" {
				t.Errorf("read by another account: %v", r.body)
			}
		}
		if r := b.call("POST", "/me/media_publish", "access_token", other.Token, "creation_id", con); r.code() != "24/2207006" {
			t.Errorf("publish by another account: %v", r.body)
		}
		if r := b.call("POST", "/{ig}/media_publish", "creation_id", "1"); r.code() != "24/2207008" {
			t.Errorf("publish of an unknown container: %v", r.body)
		}
		if r := b.call("POST", "/{ig}/media_publish"); r.code() != "100" {
			t.Errorf("publish of nothing: %v", r.body)
		}
		if r := b.call("DELETE", "/"+post); r.code() != "10" {
			t.Errorf("delete: %v", r.body)
		}
		if r := b.call("POST", "/{ig}/nonsense"); r.code() != "100" {
			t.Errorf("unknown path: %v", r.body)
		}
	})
}

func TestTheQuotaUsageCanBeCountedFromATime(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		b.post("1")
		time.Sleep(time.Hour)
		mark := time.Now().Unix()
		b.post("2")
		usage := b.data(b.call("GET", "/{ig}/content_publishing_limit", "since", strconv.FormatInt(mark, 10)))[0]
		if usage["quota_usage"] != 1.0 || usage["config"] != nil {
			t.Errorf("%v", usage)
		}
		old := strconv.FormatInt(mark-2*86400, 10)
		if r := b.call("GET", "/{ig}/content_publishing_limit", "since", old); r.code() != "100" {
			t.Errorf("more than a day ago: %v", r.body)
		}
		b.fault(stage.Fault{Switch: "quota_full", Count: 1})
		full := b.data(b.call("GET", "/{ig}/content_publishing_limit", "fields", "quota_usage,config"))[0]
		if full["quota_usage"] != full["config"].(map[string]any)["quota_total"] {
			t.Errorf("%v", full)
		}
	})
}
