package instagram

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"postbus.dev/services/connectors/sandbox/stage"
)

// timeLayout is how the provider writes times: no colon in the zone.
const timeLayout = "2006-01-02T15:04:05-0700"

// readMedia is GET /{media-id}.
func readMedia(ig *Instagram, c *call) (any, *apiError) {
	m := ig.media[c.node]
	if m == nil || m.post.Account != c.account.ID || m.post.Time.After(time.Now()) {
		return nil, errUnreadable(c.node)
	}
	v, e := ig.view(c)
	if e != nil {
		return nil, e
	}
	return ig.show(v, m), nil
}

// view is how media are shown in one answer.
type view struct {
	fields  map[string]bool
	caption func(string) string
}

// view applies the faults that change what reads show: once for each call.
func (ig *Instagram) view(c *call) (view, *apiError) {
	v := view{fields: fields(c)}
	for name := range v.fields {
		if _, ok := (&media{}).field(name); !ok {
			return v, errField(name, "IGMedia")
		}
	}
	set := func(name string) bool {
		_, on := ig.st.Faults.State(name, Name, c.name, c.account.ID)
		return on
	}
	if rich := v.fields["caption"] || v.fields["media_product_type"]; rich && set("fields_refused") {
		return v, errField("caption", "IGMedia")
	} else if rich && set("fields_absent") {
		delete(v.fields, "caption")
		delete(v.fields, "media_product_type")
	}
	switch rich := v.fields["caption"]; {
	case rich && set("caption_without_at"):
		v.caption = func(text string) string { return strings.ReplaceAll(text, "@", "") }
	case rich && set("caption_rewritten"):
		v.caption = func(text string) string { return strings.Join(strings.Fields(text), "\n") + " " }
	}
	return v, nil
}

// show renders a media with the fields that were asked for.
func (ig *Instagram) show(w view, m *media) map[string]any {
	out := map[string]any{"id": m.post.ID}
	for field := range w.fields {
		v, _ := m.field(field)
		if w.caption != nil && field == "caption" && m.post.Text != "" {
			v = w.caption(m.post.Text)
		}
		if v != nil && v != "" {
			out[field] = v // what is empty is left out, as Graph does
		}
	}
	return out
}

// field is the value of one field; false when there is no such field.
func (m *media) field(name string) (any, bool) {
	switch name {
	case "id":
		return m.post.ID, true
	case "permalink":
		return m.post.Permalink, true
	case "shortcode":
		return m.short, true
	case "media_type":
		return m.readType, true
	case "media_product_type":
		return m.post.Product, true
	case "timestamp":
		return m.post.Time.UTC().Format(timeLayout), true
	case "caption":
		return m.post.Text, true
	case "username":
		return m.post.Username, true
	case "alt_text":
		return m.post.Params["alt_text"], true
	case "owner":
		return map[string]string{"id": m.post.Account}, true
	case "comments_count", "like_count":
		return 0, true
	case "media_url", "thumbnail_url":
		return "https://scontent.cdninstagram.com/" + m.short, true
	default:
		return nil, false
	}
}

type page struct {
	Data   []any   `json:"data"`
	Paging *paging `json:"paging,omitempty"`
}

type paging struct {
	Cursors struct {
		Before string `json:"before"`
		After  string `json:"after"`
	} `json:"cursors"`
	Next string `json:"next,omitempty"`
}

// listMedia is GET /{ig-user-id}/media: newest first, without stories.
func listMedia(ig *Instagram, c *call) (any, *apiError) {
	if e := ig.owns(c); e != nil {
		return nil, e
	}
	return ig.list(c, ig.user(c.account.ID).feed)
}

// listStories is GET /{ig-user-id}/stories: those of the last 24 hours.
func listStories(ig *Instagram, c *call) (any, *apiError) {
	if e := ig.owns(c); e != nil {
		return nil, e
	}
	from := time.Now().Add(-ig.st.Scale(24 * time.Hour))
	all := ig.user(c.account.ID).stories
	first, _ := slices.BinarySearchFunc(all, from, func(m *media, t time.Time) int { return m.post.Time.Compare(t) })
	return ig.list(c, all[first:])
}

// list is one page of a list, which is kept oldest first.
func (ig *Instagram) list(c *call, all []*media) (any, *apiError) {
	q, e := ig.query(c, all)
	if e != nil {
		return nil, e
	}
	out := page{Data: []any{}}
	shown, more := q.pick(all)
	for _, m := range shown {
		out.Data = append(out.Data, ig.show(q.view, m))
	}
	if len(shown) > 0 {
		out.Paging = links(c, shown, more)
	}
	return out, nil
}

// query is what a list call asks for.
type query struct {
	view         view
	limit        int
	since, until int64 // Unix seconds, both inclusive
	end          int   // the page starts before this index
}

func (ig *Instagram) query(c *call, all []*media) (q query, e *apiError) {
	if q.view, e = ig.view(c); e != nil {
		return q, e
	}
	if q.limit, e = ig.limit(c); e != nil {
		return q, e
	}
	if q.since, q.until, e = span(c); e != nil {
		return q, e
	}
	if q.end, e = position(all, c.params["after"]); e != nil {
		return q, e
	}
	if _, empty := ig.st.Faults.State("list_empty", Name, c.name, c.account.ID); empty {
		q.end = 0
	}
	return q, nil
}

// pick finds the media of a page, newest first, and whether there are more.
func (q query) pick(all []*media) (shown []*media, more bool) {
	now := time.Now()
	for _, m := range slices.Backward(all[:q.end]) {
		at := m.post.Time
		if now.Before(m.visible) || at.After(now) || at.Unix() < q.since || at.Unix() > q.until {
			continue
		}
		if len(shown) == q.limit {
			return shown, true
		}
		shown = append(shown, m)
	}
	return shown, false
}

// limit is the size of a page.
func (ig *Instagram) limit(c *call) (int, *apiError) {
	n := 25
	if v, ok := c.params["limit"]; ok {
		var err error
		if n, err = strconv.Atoi(v); err != nil || n < 1 {
			return 0, errParam("Param limit must be a positive integer")
		}
	}
	n = min(n, 100)
	if ig.Now().PageSize > 0 {
		n = min(n, ig.Now().PageSize)
	}
	return n, nil
}

// span reads since and until, in Unix seconds.
func span(c *call) (since, until int64, e *apiError) {
	since, until = 0, 1<<62
	for name, to := range map[string]*int64{"since": &since, "until": &until} {
		v, ok := c.params[name]
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return 0, 0, errParam("Param %s must be a Unix timestamp", name)
		}
		*to = n
	}
	return since, until, nil
}

func cursor(m *media) string {
	return base64.URLEncoding.EncodeToString(fmt.Appendf(nil, "%d:%d", m.post.Time.UnixNano(), m.post.Seq))
}

// position is the index of the media that a cursor names: what comes after it
// in the answer is before it in the list.
func position(all []*media, after string) (int, *apiError) {
	if after == "" {
		return len(all), nil
	}
	b, err := base64.URLEncoding.DecodeString(after)
	var nano, seq int64
	if err == nil {
		_, err = fmt.Sscanf(string(b), "%d:%d", &nano, &seq)
	}
	if err != nil {
		return 0, errParam("Invalid cursors values")
	}
	i, _ := slices.BinarySearchFunc(all, nano, func(m *media, at int64) int {
		if n := m.post.Time.UnixNano(); n != at {
			return int(min(max(n-at, -1), 1))
		}
		return int(min(max(m.post.Seq-seq, -1), 1))
	})
	return i, nil
}

// links are the cursors of a page. As at the provider, the link to the next
// page holds the access token.
func links(c *call, shown []*media, more bool) *paging {
	var p paging
	p.Cursors.Before, p.Cursors.After = cursor(shown[0]), cursor(shown[len(shown)-1])
	if !more {
		return &p
	}
	q := url.Values{"access_token": {c.token}, "after": {p.Cursors.After}}
	for _, name := range []string{"fields", "limit", "since", "until"} {
		if v, ok := c.params[name]; ok {
			q.Set(name, v)
		}
	}
	prefix := ""
	if c.version != "" {
		prefix = "/" + c.version
	}
	p.Next = c.base + "/" + Name + prefix + c.path + "?" + q.Encode()
	return &p
}

// publishingLimit is GET /{ig-user-id}/content_publishing_limit.
func publishingLimit(ig *Instagram, c *call) (any, *apiError) {
	if e := ig.owns(c); e != nil {
		return nil, e
	}
	since, _, e := span(c)
	if e != nil {
		return nil, e
	}
	if since != 0 && time.Since(time.Unix(since, 0)) > 24*time.Hour+time.Minute {
		return nil, errParam("Param since cannot be more than 24 hours ago")
	}
	used, total := ig.usage(c.account, since)
	if _, full := ig.st.Faults.State("quota_full", Name, c.name, c.account.ID); full {
		used = total
	}
	out := map[string]any{"quota_usage": used}
	for field := range fields(c) {
		switch field {
		case "quota_usage":
		case "config":
			out[field] = map[string]int{"quota_total": total, "quota_duration": 86400}
		default:
			return nil, errField(field, "IGContentPublishingLimit")
		}
	}
	return map[string]any{"data": []any{out}}, nil
}

// usage is how many posts of the quota an account has used since a time.
func (ig *Instagram) usage(a stage.Account, since int64) (used, total int) {
	u := ig.user(a.ID)
	u.published = ig.within(u.published)
	for _, at := range u.published {
		if at.Unix() >= since {
			used++
		}
	}
	if total = ig.quota(a); total < 0 {
		total = 1_000_000 // no limit
	}
	return used, total
}
