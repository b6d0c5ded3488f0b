package instagram

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"postbus.dev/services/connectors/sandbox/stage"
)

// media is a published post.
type media struct {
	post     stage.Post
	readType string // media_type, as reads show it
	short    string
	visible  time.Time // in lists from then on
}

// publish is POST /{ig-user-id}/media_publish.
func publish(ig *Instagram, c *call) (any, *apiError) {
	if e := ig.owns(c); e != nil {
		return nil, e
	}
	con, e := ig.publishable(c)
	if e != nil {
		return nil, e
	}
	if ig.st.Chance(ig.Now().Foreign.After) {
		ig.plant(con, time.Now().Add(ig.draw(ig.Now().Foreign.Later)))
	}
	switch ig.state(con) {
	case "PUBLISHED":
		if !ig.Now().SecondPublish {
			return map[string]string{"id": con.media[0].post.ID}, nil
		}
	case "EXPIRED":
		return nil, documented(24, 2207008)
	case "IN_PROGRESS", "ERROR":
		return nil, documented(9007, 2207027)
	}
	u := ig.user(c.account.ID)
	u.published = ig.within(u.published)
	if total := ig.quota(c.account); total >= 0 && len(u.published) >= total {
		return nil, documented(9, 2207042)
	}
	u.published = append(u.published, time.Now())
	earlier := ig.earlierID(c.account.ID)
	m := ig.post(con, time.Now(), false, c.n)
	con.media = append(con.media, m)
	return map[string]string{"id": cmp.Or(earlier, m.post.ID)}, nil
}

// earlierID is the account's last post, where a fault has the answer name that.
func (ig *Instagram) earlierID(account string) string {
	if _, wrong := ig.st.Faults.State("earlier_id", Name, CallPublish, account); !wrong {
		return ""
	}
	for _, p := range ig.st.Ledger.List(stage.PostFilter{Provider: Name, Account: account, Limit: 1}) {
		return p.ID
	}
	return ""
}

// publishable finds the container of a publish call.
func (ig *Instagram) publishable(c *call) (*container, *apiError) {
	id := c.params["creation_id"]
	if id == "" {
		return nil, errParam("The parameter creation_id is required")
	}
	con := ig.containers[id]
	switch {
	case con == nil:
		return nil, documented(24, 2207008)
	case con.account != c.account.ID:
		return nil, documented(24, 2207006)
	case con.kind.child:
		return nil, errParam("Carousel items cannot be published by themselves")
	}
	return con, nil
}

// quota is the number of posts that a rolling day takes; -1 is no limit.
func (ig *Instagram) quota(a stage.Account) int {
	return cmp.Or(a.QuotaTotal, ig.Now().Quota)
}

// post makes the post and writes it into the ledger.
func (ig *Instagram) post(con *container, at time.Time, foreign bool, n int64) *media {
	acct, _ := ig.st.Accounts.Get(Name, con.account)
	m := &media{readType: con.kind.readType, short: ig.shortcode()}
	id := ig.st.NextID(mediaPrefix)
	text := con.params["caption"]
	if con.kind.product == "STORY" {
		text = ""
	}
	m.post = stage.Post{
		Provider: Name, Account: acct.ID, Username: acct.Username, MediaType: con.kind.mediaType, Product: con.kind.product,
		Text: text, Time: at, ID: id, Permalink: permalink(con.kind, acct.Username, m.short, id),
		Children: len(con.children), Foreign: foreign, Call: n,
	}
	if !foreign {
		m.post.ContainerID, m.post.Media, m.post.Params = con.id, ig.urls(con), con.params
	}
	m.visible = time.Now().Add(ig.lag(con.account))
	m.post = ig.st.Ledger.Add(m.post)
	ig.media[id] = m
	u := ig.user(con.account)
	if con.kind.product == "STORY" {
		u.stories = ig.insert(u.stories, m)
	} else {
		u.feed = ig.insert(u.feed, m)
	}
	return m
}

func (ig *Instagram) lag(account string) time.Duration {
	if f, ok := ig.st.Faults.State("list_lag", Name, CallPublish, account); ok {
		return ig.st.Scale(time.Duration(f.Delay))
	}
	return ig.draw(ig.Now().Lag)
}

// urls are the media of a container, those of its children in order.
func (ig *Instagram) urls(con *container) []string {
	var found []string
	for _, id := range con.children {
		if child := ig.containers[id]; child != nil {
			found = append(found, ig.urls(child)...)
		}
	}
	if u := cmp.Or(con.params["image_url"], con.params["video_url"]); u != "" {
		found = append(found, u)
	}
	return found
}

// insert keeps a list in the order of time, and forgets the oldest beyond what
// the provider lists.
func (ig *Instagram) insert(list []*media, m *media) []*media {
	at, _ := slices.BinarySearchFunc(list, m, func(x, y *media) int {
		return cmp.Or(x.post.Time.Compare(y.post.Time), cmp.Compare(x.post.Seq, y.post.Seq))
	})
	list = slices.Insert(list, at, m)
	if len(list) > keepMedia {
		delete(ig.media, list[0].post.ID)
		list[0], list = nil, list[1:]
	}
	return list
}

func (ig *Instagram) shortcode() string {
	b := make([]byte, 8)
	binary.LittleEndian.PutUint64(b, ig.st.Uint64())
	return base64.RawURLEncoding.EncodeToString(b)
}

func permalink(k kind, username, short, id string) string {
	switch k.product {
	case "REELS":
		return "https://www.instagram.com/reel/" + short + "/"
	case "STORY":
		return "https://www.instagram.com/stories/" + username + "/" + id + "/"
	default:
		return "https://www.instagram.com/p/" + short + "/"
	}
}

// plant makes a post of others with the same caption and kind.
func (ig *Instagram) plant(con *container, at time.Time) *media {
	if con.kind.child {
		return nil
	}
	return ig.post(con, at, true, 0)
}

// Planted is a post of others.
type Planted struct {
	Account string         `json:"account"`
	Caption string         `json:"caption"`
	Kind    string         `json:"kind"` // IMAGE (default), REELS, CAROUSEL, STORIES
	Ago     stage.Duration `json:"ago"`  // real time before now; negative: after
}

// Plant puts a post of others into an account's lists.
func (ig *Instagram) Plant(data []byte) (stage.Post, error) {
	var want Planted
	if err := json.Unmarshal(data, &want); err != nil {
		return stage.Post{}, fmt.Errorf("read post: %w", err)
	}
	if _, ok := ig.st.Accounts.Get(Name, want.Account); !ok {
		return stage.Post{}, fmt.Errorf("no account %q", want.Account)
	}
	p := params{"caption": want.Caption}
	if want.Kind != "" && want.Kind != "IMAGE" {
		p["media_type"] = want.Kind
	}
	k, e := kindOf(p)
	if e != nil {
		return stage.Post{}, fmt.Errorf("no kind %q", want.Kind)
	}
	ig.mu.Lock()
	defer ig.mu.Unlock()
	con := &container{account: want.Account, kind: k, params: p}
	return ig.plant(con, time.Now().Add(-time.Duration(want.Ago))).post, nil
}
