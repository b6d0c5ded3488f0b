package instagram_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"postbus.dev/services/connectors/sandbox/instagram"
	"postbus.dev/services/connectors/sandbox/stage"
)

func TestAnImageIsPublishedOnceAndRecorded(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		con := b.create("image_url", "https://example.com/a.jpg", "caption", "hello", "alt_text", "a cat")
		if got := b.state(con); got != "IN_PROGRESS" {
			t.Fatalf("state is %s right after creation", got)
		}
		if n := len(b.posts()); n != 0 {
			t.Fatalf("%d posts before the publish", n)
		}
		id := b.id(b.publish(b.ready(con)))
		if got := b.state(con); got != "PUBLISHED" {
			t.Errorf("state is %s after the publish", got)
		}
		posts := b.posts()
		if len(posts) != 1 {
			t.Fatalf("%d posts, want 1", len(posts))
		}
		p := posts[0]
		if p.ID != id || p.ContainerID != con || p.Account != b.acct.ID || p.MediaType != "IMAGE" || p.Text != "hello" ||
			p.Params["alt_text"] != "a cat" || !reflect.DeepEqual(p.Media, []string{"https://example.com/a.jpg"}) {
			t.Errorf("ledger: %+v", p)
		}
		if _, leak := p.Params["access_token"]; leak {
			t.Error("the ledger holds the token")
		}
		got := b.call("GET", "/"+id, "fields", "id,permalink,shortcode,media_type,media_product_type,timestamp,caption,username").body
		if got["permalink"] != p.Permalink || got["media_type"] != "IMAGE" || got["media_product_type"] != "FEED" ||
			got["caption"] != "hello" || got["username"] != "ada" {
			t.Errorf("media: %v", got)
		}
		if at, err := time.Parse("2006-01-02T15:04:05-0700", got["timestamp"].(string)); err != nil || at.Unix() != p.Time.Unix() {
			t.Errorf("timestamp %v, posted %v: %v", got["timestamp"], p.Time, err)
		}
	})
}

func TestProcessingTakesTheProvidersTime(t *testing.T) {
	for name, c := range map[string]struct {
		params   []string
		from, to time.Duration
	}{
		"image": {[]string{"image_url", "https://example.com/a.jpg"}, time.Second, 5 * time.Second},
		"reel":  {[]string{"media_type", "REELS", "video_url", "https://example.com/a.mp4"}, 10 * time.Second, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, instagram.Faithful(), func(b *bundle) {
				con := b.create(c.params...)
				time.Sleep(c.from - time.Millisecond)
				if got := b.state(con); got != "IN_PROGRESS" {
					t.Errorf("%s before %v", got, c.from)
				}
				time.Sleep(c.to - c.from)
				if got := b.state(con); got != "FINISHED" {
					t.Errorf("%s after %v", got, c.to)
				}
			})
		})
	}
}

func TestTheFirstLookAtAContainerIsInProgressWhenHostile(t *testing.T) {
	inBubble(t, instagram.Hostile(), func(b *bundle) {
		con := b.image("x")
		time.Sleep(time.Hour)
		if r := b.publish(con); r.code() != "9007/2207027" {
			t.Errorf("publish before any look: %v", r.body)
		}
		if first, second := b.state(con), b.state(con); first != "IN_PROGRESS" || second != "FINISHED" {
			t.Errorf("looks: %s, %s", first, second)
		}
	})
}

func TestPublishingTooEarlyPostsNothing(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		con := b.create("media_type", "REELS", "video_url", "https://example.com/a.mp4")
		if r := b.publish(con); r.code() != "9007/2207027" || r.status != 400 {
			t.Errorf("answer %d %v", r.status, r.body)
		}
		if n := len(b.posts()); n != 0 {
			t.Errorf("%d posts", n)
		}
		b.id(b.publish(b.ready(con)))
	})
}

func TestAContainerExpiresAfterADayUnlessPublished(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		old, kept := b.ready(b.image("old")), b.ready(b.image("kept"))
		b.id(b.publish(kept))
		time.Sleep(24*time.Hour + time.Minute)
		if got := b.state(old); got != "EXPIRED" {
			t.Errorf("unpublished: %s", got)
		}
		if got := b.state(kept); got != "PUBLISHED" {
			t.Errorf("published: %s", got)
		}
		if r := b.publish(old); r.code() != "24/2207008" {
			t.Errorf("publish of the expired one: %v", r.body)
		}
	})
}

func TestASecondPublishOfOneContainer(t *testing.T) {
	t.Run("makes a second post when hostile", func(t *testing.T) {
		inBubble(t, instagram.Hostile(), func(b *bundle) {
			con := b.ready(b.image("twice"))
			first, second := b.id(b.publish(con)), b.id(b.publish(con))
			if first == second || len(b.posts()) != 2 {
				t.Errorf("ids %s and %s, %d posts", first, second, len(b.posts()))
			}
		})
	})
	t.Run("returns the first id when faithful", func(t *testing.T) {
		inBubble(t, instagram.Faithful(), func(b *bundle) {
			con := b.ready(b.image("twice"))
			first, second := b.id(b.publish(con)), b.id(b.publish(con))
			if first != second || len(b.posts()) != 1 {
				t.Errorf("ids %s and %s, %d posts", first, second, len(b.posts()))
			}
		})
	})
}

func TestAnAnswerMayNameThePostBefore(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		b.fault(stage.Fault{Switch: "earlier_id", Skip: 1, Count: 1})
		first, second, third := b.post("one"), b.post("two"), b.post("three")
		if second != first || third == first {
			t.Errorf("answers name %s, %s and %s", first, second, third)
		}
		if n := len(b.posts()); n != 3 {
			t.Errorf("%d posts, want 3", n)
		}
	})
}

func TestACarouselIsOnePostOfItsChildren(t *testing.T) {
	inBubble(t, instagram.Hostile(), func(b *bundle) {
		one := b.create("image_url", "https://example.com/1.jpg", "is_carousel_item", "true", "alt_text", "one")
		two := b.create("media_type", "VIDEO", "video_url", "https://example.com/2.mp4", "is_carousel_item", "true")
		early := b.call("POST", "/{ig}/media", "media_type", "CAROUSEL", "children", one+","+two)
		if early.code() != "9007/2207027" {
			t.Errorf("parent before its children are ready: %v", early.body)
		}
		b.ready(one)
		b.ready(two)
		if r := b.publish(one); r.code() != "100" {
			t.Errorf("publish of a child: %v", r.body)
		}
		parent := b.ready(b.create("media_type", "CAROUSEL", "children", fmt.Sprintf(`["%s","%s"]`, one, two), "caption", "both"))
		id := b.id(b.publish(parent))
		posts := b.posts()
		if len(posts) != 1 || posts[0].Children != 2 || posts[0].MediaType != "CAROUSEL" ||
			!reflect.DeepEqual(posts[0].Media, []string{"https://example.com/1.jpg", "https://example.com/2.mp4"}) {
			t.Errorf("ledger: %+v", posts)
		}
		if got := b.call("GET", "/"+id, "fields", "media_type").body["media_type"]; got != "CAROUSEL_ALBUM" {
			t.Errorf("media_type %v", got)
		}
	})
}

func TestAReelReadsBackAsAVideo(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		id := b.id(b.publish(b.ready(b.create("media_type", "REELS", "video_url", "https://example.com/a.mp4", "cover_url", "https://example.com/c.jpg"))))
		got := b.call("GET", "/"+id, "fields", "media_type,media_product_type,permalink,caption").body
		link, _ := got["permalink"].(string)
		if got["media_type"] != "VIDEO" || got["media_product_type"] != "REELS" || !strings.HasPrefix(link, "https://www.instagram.com/reel/") {
			t.Errorf("media: %v", got)
		}
		if _, there := got["caption"]; there {
			t.Error("an empty caption is shown")
		}
	})
}

func TestAStoryIsInTheStoriesForADayAndNeverInTheFeed(t *testing.T) {
	b := instagram.Faithful()
	inBubble(t, b, func(b *bundle) {
		id := b.id(b.publish(b.ready(b.create("media_type", "STORIES", "image_url", "https://example.com/a.jpg"))))
		stories := func() int { return len(b.data(b.call("GET", "/{ig}/stories", "fields", "id"))) }
		if n := len(b.data(b.call("GET", "/{ig}/media"))); n != 0 || stories() != 1 {
			t.Errorf("%d in the feed, %d stories", n, stories())
		}
		if got := b.call("GET", "/"+id, "fields", "media_product_type").body["media_product_type"]; got != "STORY" {
			t.Errorf("media_product_type %v", got)
		}
		time.Sleep(24*time.Hour + time.Second)
		if stories() != 0 {
			t.Error("the story is still listed after a day")
		}
		if posts := b.posts(); len(posts) != 1 || posts[0].MediaType != "STORY" {
			t.Errorf("ledger: %+v", posts)
		}
	})
}

func TestTheQuotaOfARollingDayIsEnforcedAtThePublish(t *testing.T) {
	inBubble(t, instagram.Hostile(), func(b *bundle) {
		acct := b.acct
		acct.QuotaTotal = 2
		if err := b.st.Accounts.Put(acct); err != nil {
			t.Fatal(err)
		}
		usage := func() any {
			d := b.data(b.call("GET", "/{ig}/content_publishing_limit", "fields", "quota_usage,config"))[0]
			if c := d["config"].(map[string]any); c["quota_total"] != 2.0 || c["quota_duration"] != 86400.0 {
				t.Errorf("config %v", c)
			}
			return d["quota_usage"]
		}
		b.post("1")
		time.Sleep(12 * time.Hour)
		b.post("2")
		con := b.ready(b.image("3"))
		if r := b.publish(con); r.code() != "9/2207042" || usage() != 2.0 {
			t.Errorf("third publish: %v, usage %v", r.body, usage())
		}
		time.Sleep(12 * time.Hour) // the first leaves the window
		if got := usage(); got != 1.0 {
			t.Errorf("usage %v after half a day", got)
		}
		b.id(b.publish(con))
		if len(b.posts()) != 3 {
			t.Errorf("%d posts", len(b.posts()))
		}
	})
}

func TestAnAccountMakesAtMostItsContainersADay(t *testing.T) {
	behavior := instagram.Faithful()
	behavior.Containers = 2
	inBubble(t, behavior, func(b *bundle) {
		b.image("1")
		b.image("2")
		r := b.call("POST", "/{ig}/media", "image_url", "https://example.com/a.jpg")
		if r.code() != "9/2207042" {
			t.Errorf("third container: %v", r.body)
		}
		time.Sleep(24*time.Hour + time.Second)
		b.image("3")
	})
}

func TestFaultsDecideWhatBecomesOfAContainer(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		for _, c := range []struct {
			fault stage.Fault
			want  string
			text  string
		}{
			{stage.Fault{Switch: "container_error", Subcode: 2207026}, "ERROR", "2207026"},
			{stage.Fault{Switch: "container_error"}, "ERROR", "Media download has failed"},
			{stage.Fault{Switch: "container_stuck"}, "IN_PROGRESS", "In progress"},
			{stage.Fault{Switch: "container_expired"}, "EXPIRED", "Expired"},
			{stage.Fault{Switch: "container_slow", Delay: stage.Duration(time.Hour)}, "IN_PROGRESS", "In progress"},
		} {
			c.fault.Count = 1
			b.fault(c.fault)
			con := b.image("x")
			time.Sleep(time.Minute)
			got := b.call("GET", "/"+con, "fields", "status_code,status").body
			if text, _ := got["status"].(string); got["status_code"] != c.want || !strings.Contains(text, c.text) {
				t.Errorf("%s: %v", c.fault.Switch, got)
			}
			b.publish(con)
		}
		b.fault(stage.Fault{Switch: "container_expired", Delay: stage.Duration(time.Hour), Count: 1})
		con := b.ready(b.image("later"))
		time.Sleep(time.Hour)
		if got := b.state(con); got != "EXPIRED" {
			t.Errorf("%s after the delay of container_expired", got)
		}
		if n := len(b.posts()); n != 0 {
			t.Errorf("%d posts from containers that cannot be published", n)
		}
	})
}

func TestAStatusMayComeWithoutItsCode(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		con := b.ready(b.image("x"))
		b.fault(stage.Fault{Switch: "status_only", Count: 1})
		got := b.call("GET", "/"+con, "fields", "status_code,status").body
		if text, _ := got["status"].(string); got["status_code"] != "" || !strings.HasPrefix(text, "Finished:") {
			t.Errorf("%v", got)
		}
	})
}

func TestThePublishRunsOnWhenItsCallerHasGone(t *testing.T) {
	behavior := instagram.Faithful()
	behavior.Publish = instagram.Range{From: stage.Duration(time.Minute), To: stage.Duration(time.Minute)}
	inBubble(t, behavior, func(b *bundle) {
		con := b.ready(b.image("slow"))
		done := make(chan reply)
		go func() { done <- b.publish(con) }()
		time.Sleep(30 * time.Second)
		if got, n := b.state(con), len(b.posts()); got != "FINISHED" || n != 0 {
			t.Errorf("while it runs: %s, %d posts", got, n)
		}
		b.id(<-done)
		if len(b.posts()) != 1 {
			t.Errorf("%d posts", len(b.posts()))
		}
	})
}

func TestOthersPostTheSameCaptionBeforeAndAfter(t *testing.T) {
	behavior := instagram.Hostile()
	behavior.PageSize = 0
	behavior.Foreign.Before, behavior.Foreign.After = 1, 1
	inBubble(t, behavior, func(b *bundle) {
		time.Sleep(time.Hour)
		start := time.Now()
		id := b.post("same")
		time.Sleep(time.Minute)
		items := b.data(b.call("GET", "/{ig}/media", "fields", "id,caption,timestamp"))
		if len(items) != 3 {
			t.Fatalf("%d posts listed, want ours and two of others: %v", len(items), items)
		}
		older, mine := 0, 0
		for _, it := range items {
			at, err := time.Parse("2006-01-02T15:04:05-0700", it["timestamp"].(string))
			if err != nil || it["caption"] != "same" {
				t.Errorf("%v: %v", it, err)
			}
			if it["id"] == id {
				mine++
			} else if at.Before(start.Add(-time.Minute)) {
				older++
			}
		}
		if older != 1 || mine != 1 {
			t.Errorf("%d older, %d mine: %v", older, mine, items)
		}
		if own, all := len(b.posts()), len(b.st.Ledger.List(stage.PostFilter{Foreign: true})); own != 1 || all != 3 {
			t.Errorf("ledger: %d own, %d in all", own, all)
		}
	})
}

func TestAPostOfOthersCanBePlantedExactly(t *testing.T) {
	inBubble(t, instagram.Faithful(), func(b *bundle) {
		p, err := b.ig.Plant([]byte(`{"provider":"instagram","account":"` + b.acct.ID + `","caption":"x","kind":"REELS","ago":"90s"}`))
		if err != nil {
			t.Fatal(err)
		}
		if !p.Foreign || time.Since(p.Time) != 90*time.Second || p.Product != "REELS" {
			t.Errorf("%+v", p)
		}
		if items := b.data(b.call("GET", "/{ig}/media")); len(items) != 1 || items[0]["id"] != p.ID {
			t.Errorf("%v", items)
		}
		if _, err := b.ig.Plant([]byte(`{"account":"1"}`)); err == nil {
			t.Error("planted for an account that is not there")
		}
	})
}
