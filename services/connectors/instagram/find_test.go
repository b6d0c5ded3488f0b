package instagram

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"postbus.dev/services/connectors"
)

// listed is an item of a list of media; zero values are left out.
type listed struct {
	id, typ, product, caption string
	at                        time.Duration // after the attempt was armed
	noTime, noCaption         bool
}

func (b *bench) item(l listed) string {
	var fields []string
	add := func(name, value string) {
		if value != "" {
			fields = append(fields, fmt.Sprintf("%q:%q", name, value))
		}
	}
	add("id", l.id)
	add("media_type", l.typ)
	add("media_product_type", l.product)
	if !l.noCaption {
		add("caption", l.caption)
	}
	if !l.noTime {
		add("timestamp", b.now.Add(l.at).Format("2006-01-02T15:04:05-0700"))
	}
	add("permalink", "https://www.instagram.com/p/"+l.id+"/")
	return "{" + strings.Join(fields, ",") + "}"
}

func (b *bench) page(next string, items ...listed) reply {
	var data []string
	for _, l := range items {
		data = append(data, b.item(l))
	}
	paging := ""
	if next != "" {
		paging = fmt.Sprintf(`,"paging":{"cursors":{"before":"x","after":%q},"next":"https://evil.example/?access_token=%s"}`, next, testToken)
	}
	return reply{body: `{"data":[` + strings.Join(data, ",") + `]` + paging + `}`}
}

func (b *bench) attempt() connectors.Attempt {
	return connectors.Attempt{Number: 1, ArmedAt: b.now, QuietAt: b.now.Add(3 * time.Minute), Quiet: true}
}

func ours(id string) listed {
	return listed{id: id, typ: "IMAGE", product: "FEED", caption: "Hello", at: time.Second}
}

func TestFindReadsTheOutcomeFromContainerAndList(t *testing.T) {
	t.Parallel()
	const absent, unclear, published = connectors.Absent, connectors.Unclear, connectors.Published
	foreign := listed{id: "f", typ: "IMAGE", product: "FEED", caption: "Other", at: time.Second}
	for name, tc := range map[string]struct {
		status reply
		list   []listed
		change func(*connectors.Attempt)
		want   connectors.Verdict
		id     string
	}{
		"published, one match":                    {status: statusReply("PUBLISHED"), list: []listed{foreign, ours("m1")}, want: published, id: "m1"},
		"published, not in the list yet":          {status: statusReply("PUBLISHED"), list: []listed{foreign}, want: unclear},
		"published, a stranger's post matches":    {status: statusReply("PUBLISHED"), list: []listed{ours("m1"), ours("m2")}, want: unclear},
		"published, the other is another publish": {status: statusReply("PUBLISHED"), list: []listed{ours("m1"), ours("m2")}, change: func(a *connectors.Attempt) { a.OwnedRemoteIDs = []string{"m2"} }, want: published, id: "m1"},
		"published, with a twin":                  {status: statusReply("PUBLISHED"), list: []listed{ours("m1")}, change: func(a *connectors.Attempt) { a.TwinUnconfirmed = true }, want: unclear},
		"published, a second could match":         {status: statusReply("PUBLISHED"), list: []listed{ours("m1"), {id: "m2", typ: "IMAGE", caption: "Hello", noTime: true}}, want: unclear},
		"published, first look before quiet":      {status: statusReply("PUBLISHED"), list: []listed{ours("m1")}, change: func(a *connectors.Attempt) { a.Quiet = false }, want: unclear},
		"finished, nothing":                       {status: statusReply("FINISHED"), list: []listed{foreign}, want: absent},
		"finished, empty list":                    {status: statusReply("FINISHED"), want: absent},
		"finished, before quiet":                  {status: statusReply("FINISHED"), list: []listed{foreign}, change: func(a *connectors.Attempt) { a.Quiet = false }, want: unclear},
		"finished, a match":                       {status: statusReply("FINISHED"), list: []listed{ours("m1")}, want: unclear},
		"finished, a match of another publish":    {status: statusReply("FINISHED"), list: []listed{ours("m1")}, change: func(a *connectors.Attempt) { a.OwnedRemoteIDs = []string{"m1"} }, want: absent},
		"finished, something without a time":      {status: statusReply("FINISHED"), list: []listed{{id: "m2", typ: "IMAGE", caption: "Hello", noTime: true}}, want: unclear},
		"finished, nothing, with a twin":          {status: statusReply("FINISHED"), list: []listed{foreign}, change: func(a *connectors.Attempt) { a.TwinUnconfirmed = true }, want: absent},
		"expired, nothing":                        {status: statusReply("EXPIRED"), list: []listed{foreign}, want: absent},
		"error, nothing":                          {status: statusReply("ERROR"), want: absent},
		"error, a match":                          {status: statusReply("ERROR"), list: []listed{ours("m1")}, want: unclear},
		"in progress":                             {status: statusReply("IN_PROGRESS"), want: unclear},
		"no status":                               {status: reply{body: `{"id":"c1"}`}, want: unclear},
		"unreadable, a match":                     {status: graphError(100, 33), list: []listed{ours("m1")}, want: unclear},
		"unreadable, nothing":                     {status: graphError(100, 33), list: []listed{foreign}, want: unclear},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.on("GET /v25.0/c1", tc.status).on("GET "+mediaPath, b.page("", tc.list...))
			at := b.attempt()
			if tc.change != nil {
				tc.change(&at)
			}
			found, _, err := b.find(image, at, b.prepared())
			if err != nil || found.Verdict != tc.want || found.Evidence == "" {
				t.Fatalf("got %+v, %v", found, err)
			}
			if tc.want == published && (found.Post == nil || found.Post.ID != tc.id || found.Post.URL == "") {
				t.Errorf("got %+v", found.Post)
			}
		})
	}
}

func TestFindMatchesTimeKindAndCaption(t *testing.T) {
	t.Parallel()
	with := func(change func(*listed)) listed {
		l := ours("m1")
		change(&l)
		return l
	}
	story := connectors.Post{MediaType: connectors.Story, MediaURL: "https://example.com/s.mp4"}
	named := connectors.Post{MediaType: connectors.Image, MediaURL: image.MediaURL, Caption: "Cafe\u0301 with @demo\n\n now \u200b"}
	bare := connectors.Post{MediaType: connectors.Image, MediaURL: image.MediaURL}
	for name, tc := range map[string]struct {
		post  connectors.Post
		item  listed
		other *listed
		want  match
	}{
		"same":                             {image, ours("m1"), nil, yes},
		"a second of truncation":           {image, with(func(l *listed) { l.at = -time.Second }), nil, yes},
		"before the attempt":               {image, with(func(l *listed) { l.at = -31 * time.Second }), nil, no},
		"no time":                          {image, with(func(l *listed) { l.noTime = true }), nil, maybe},
		"another caption":                  {image, with(func(l *listed) { l.caption = "Hello!" }), nil, no},
		"another kind":                     {image, with(func(l *listed) { l.typ = "VIDEO" }), nil, no},
		"another product":                  {image, with(func(l *listed) { l.product = "STORY" }), nil, no},
		"product not told":                 {image, with(func(l *listed) { l.product = "" }), nil, yes},
		"kind not told":                    {image, with(func(l *listed) { l.typ = "" }), nil, maybe},
		"captions are not told":            {image, with(func(l *listed) { l.noCaption = true }), nil, maybe},
		"captions are told, this has none": {image, with(func(l *listed) { l.noCaption = true }), &listed{id: "x", typ: "VIDEO", caption: "y"}, no},
		"none asked, none there":           {bare, with(func(l *listed) { l.noCaption = true }), nil, yes},
		"none asked, one there":            {bare, ours("m1"), nil, no},
		"spelled otherwise":                {named, with(func(l *listed) { l.caption = "Café with demo now" }), nil, yes},
		"reel":                             {video, with(func(l *listed) { l.typ, l.product = "VIDEO", "REELS" }), nil, yes},
		"carousel":                         {connectors.Post{MediaType: connectors.Carousel, Caption: "Hello"}, with(func(l *listed) { l.typ = "CAROUSEL_ALBUM" }), nil, yes},
		"story shows no caption":           {story, with(func(l *listed) { l.typ, l.product, l.noCaption = "VIDEO", "STORY", true }), nil, yes},
		"story of the other kind":          {story, with(func(l *listed) { l.product = "STORY" }), nil, no},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			items := []listed{tc.item}
			if tc.other != nil {
				items = append(items, *tc.other)
			}
			path := mediaPath
			if tc.post.MediaType == connectors.Story {
				path = storyPath
			}
			b.on("GET "+path, b.page("", items...))
			s, err := b.c.session(b.account, tc.post, encode(b.prepared()))
			if err != nil {
				t.Fatal(err)
			}
			seen, err := s.search(t.Context(), b.attempt())
			if err != nil || !seen.complete {
				t.Fatalf("got %+v, %v", seen, err)
			}
			if got := match(len(seen.possible) + 2*len(seen.sure)); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestFindReadsPagesBackToTheAttemptByCursor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	old := ours("old")
	old.at = -time.Hour
	b.on("GET /v25.0/c1", statusReply("PUBLISHED"))
	b.on("GET "+mediaPath, b.page("p2", listed{id: "f", typ: "VIDEO", at: time.Minute}), b.page("p3", ours("m1")), b.page("p4", old), reply{status: 500})
	found, _, err := b.find(image, b.attempt(), b.prepared())
	if err != nil || found.Verdict != connectors.Published || found.Post.ID != "m1" {
		t.Fatalf("got %+v, %v", found, err)
	}
	var after []string
	for _, r := range b.requests()[1:] {
		if r.query.Get("fields") != listFields || r.query.Get("limit") != "25" {
			t.Errorf("asked for %v", r.query)
		}
		after = append(after, r.query.Get("after"))
	}
	if strings.Join(after, " ") != " p2 p3" {
		t.Errorf("cursors %q", after)
	}
}

func TestFindTakesNoAbsenceFromAListThatHasNoEnd(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.on("GET /v25.0/c1", statusReply("FINISHED"))
	b.on("GET "+mediaPath, b.page("again", listed{id: "f", typ: "VIDEO", at: time.Minute}))
	found, _, err := b.find(image, b.attempt(), b.prepared())
	if err != nil || found.Verdict != connectors.Unclear || !strings.Contains(found.Evidence, "not read to its end") {
		t.Fatalf("got %+v, %v", found, err)
	}
}

func TestFindAsksForFewerFieldsWhereSomeAreRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.on("GET /v25.0/c1", statusReply("FINISHED"))
	b.on("GET "+mediaPath, graphError(100, 0), b.page(""))
	found, _, err := b.find(image, b.attempt(), b.prepared())
	if err != nil || found.Verdict != connectors.Absent {
		t.Fatalf("got %+v, %v", found, err)
	}
	if got := b.requests()[2].query.Get("fields"); got != bareFields {
		t.Errorf("asked for %s", got)
	}
}

func TestFailedReadIsAnErrorAndNoLook(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status, list reply
		kind         connectors.Kind
	}{
		"container: 500":        {reply{status: 500}, reply{}, connectors.KindRetry},
		"container: limited":    {graphError(80002, 0), reply{}, connectors.KindWait},
		"container: token":      {graphError(190, 463), reply{}, connectors.KindReauthorize},
		"container: parameter":  {graphError(100, 0), reply{}, connectors.KindRetry},
		"container: HTML":       {reply{body: "<html>"}, reply{}, connectors.KindRetry},
		"list: 500":             {statusReply("FINISHED"), reply{status: 500}, connectors.KindRetry},
		"list: 100/33":          {statusReply("FINISHED"), graphError(100, 33), connectors.KindRetry},
		"list: limited":         {statusReply("PUBLISHED"), graphError(80002, 0), connectors.KindWait},
		"list: no data":         {statusReply("FINISHED"), reply{body: `{}`}, connectors.KindRetry},
		"list: null":            {statusReply("FINISHED"), reply{body: `{"data":null}`}, connectors.KindRetry},
		"list: an object":       {statusReply("FINISHED"), reply{body: `{"data":{}}`}, connectors.KindRetry},
		"list: fields for ever": {statusReply("FINISHED"), graphError(100, 0), connectors.KindRetry},
	} {
		b := setup(t)
		b.on("GET /v25.0/c1", tc.status).on("GET "+mediaPath, tc.list)
		found, _, err := b.find(image, b.attempt(), b.prepared())
		if e := wantError(t, err, tc.kind); found.Checkpoint != nil || e.Call.Name == "" {
			t.Errorf("%s: got %+v, %+v", name, found, e)
		}
	}
}

func TestPostThatIsLiveEndsWithoutAnIDWhenNoMediaCanBeNamed(t *testing.T) {
	t.Parallel()
	for name, list := range map[string]func(*bench) reply{
		"never in the list":  func(b *bench) reply { return b.page("") },
		"two match for ever": func(b *bench) reply { return b.page("", ours("m1"), ours("m2")) },
		"list unreadable":    func(*bench) reply { return graphError(100, 33) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.on("GET /v25.0/c1", statusReply("PUBLISHED")).on("GET "+mediaPath, list(b))
			cp := b.prepared()
			for range looksForID - 1 {
				found, next, err := b.find(image, b.attempt(), cp)
				if err != nil || found.Verdict != connectors.Unclear {
					t.Fatalf("got %+v, %v", found, err)
				}
				cp = next
			}
			found, _, err := b.find(image, b.attempt(), cp)
			if err != nil || found.Verdict != connectors.Published || found.Post == nil || found.Post.ID != "" || found.Post.URL != "" || found.Post.Caption != "Hello" {
				t.Fatalf("got %+v, %v", found, err)
			}
		})
	}
}

func TestOnlyMatchIsTakenBeforeQuietWhenItWasThereTwice(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := b.attempt()
	at.Quiet = false
	b.on("GET /v25.0/c1", statusReply("PUBLISHED"))
	b.on("GET "+mediaPath, b.page("", ours("foreign")), b.page("", ours("foreign"), ours("m1")), b.page("", ours("m1")), b.page("", ours("m1")))
	cp := b.prepared()
	for i, want := range []connectors.Verdict{connectors.Unclear, connectors.Unclear, connectors.Unclear, connectors.Published} {
		found, next, err := b.find(image, at, cp)
		if err != nil || found.Verdict != want {
			t.Fatalf("look %d: got %+v, %v", i, found, err)
		}
		cp = next
	}
}

func TestAfterAbsenceTheFinishedContainerIsPublishedAndAnotherOneReplaced(t *testing.T) {
	t.Parallel()
	for code, kept := range map[string]bool{"FINISHED": true, "EXPIRED": false, "ERROR": false} {
		b := setup(t)
		b.on("GET /v25.0/c1", statusReply(code)).on("GET "+mediaPath, b.page("")).on("POST "+mediaPath, reply{body: `{"id":"c2"}`})
		found, cp, err := b.find(image, b.attempt(), b.prepared())
		if err != nil || found.Verdict != connectors.Absent || (cp.Main.ID == "c1") != kept {
			t.Fatalf("%s: got %+v, %+v, %v", code, found, cp, err)
		}
		step, cp, err := b.prepare(image, cp)
		if err != nil || kept != (step.Next == connectors.Ready) || (cp.Main.ID == "c1") != kept {
			t.Errorf("%s: got %+v, %+v, %v", code, step, cp, err)
		}
	}
}

func TestCommitsThatKeepHavingNoEffectAreSpacedOut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.on("GET /v25.0/c1", statusReply("FINISHED")).on("GET "+mediaPath, b.page(""))
	cp := b.prepared()
	var waits []time.Duration
	for range 5 {
		cp.QuotaAt = b.now
		var err error
		if _, cp, err = b.find(image, b.attempt(), cp); err != nil {
			t.Fatal(err)
		}
		step, _, err := b.prepare(image, cp)
		if err != nil {
			t.Fatal(err)
		}
		waits = append(waits, step.Wait)
		b.now = b.now.Add(step.Wait)
		if cp.QuotaAt = b.now; step.Wait > 0 {
			if step, _, err = b.prepare(image, cp); err != nil || step.Next != connectors.Ready {
				t.Fatalf("after the rest: %+v, %v", step, err)
			}
		}
	}
	want := []time.Duration{0, 5 * time.Minute, 15 * time.Minute, time.Hour, time.Hour}
	if fmt.Sprint(waits) != fmt.Sprint(want) {
		t.Errorf("waited %v", waits)
	}
}

func TestFindWithoutAContainerIsUnclear(t *testing.T) {
	t.Parallel()
	b := setup(t)
	found, _, err := b.find(image, b.attempt(), checkpoint{})
	if err != nil || found.Verdict != connectors.Unclear {
		t.Errorf("got %+v, %v", found, err)
	}
}
