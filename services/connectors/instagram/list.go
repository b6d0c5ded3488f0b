package instagram

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"postbus.dev/services/connectors"
)

// mediaPage is one page of a list, newest first.
type mediaPage struct {
	Data   *[]media `json:"data"`
	Paging struct {
		Cursors struct {
			After string `json:"after"`
		} `json:"cursors"`
		// Next holds an access token: only its presence is looked at.
		Next string `json:"next"`
	} `json:"paging"`
}

// search reads the account's media back to the attempt and sorts them.
func (s *session) search(ctx context.Context, at connectors.Attempt) (sightings, error) {
	from := at.ArmedAt.Add(-s.connector.skew())
	all, complete, call, err := s.list(ctx, from)
	if err != nil {
		return sightings{}, err
	}
	found := sightings{complete: complete, call: call}
	// Where some media of the list has a caption, captions are told, and a
	// media without one has none.
	told := slices.ContainsFunc(all, func(m media) bool { return m.Caption != nil })
	for _, m := range all {
		if slices.Contains(at.OwnedRemoteIDs, string(m.ID)) {
			continue
		}
		switch s.compare(m, from, told) {
		case yes:
			found.sure = append(found.sure, m)
		case maybe:
			found.possible = append(found.possible, m)
		}
	}
	return found, nil
}

// list reads pages until one ends before from. complete says that it got there.
func (s *session) list(ctx context.Context, from time.Time) (all []media, complete bool, call connectors.Call, err error) {
	fields, after := listFields, ""
	for range listPages {
		page, call, failure, err := s.readPage(ctx, fields, after)
		if failure.fieldRefused() && fields != bareFields {
			fields, after, all = bareFields, "", nil
			continue
		}
		if failure != nil {
			e, _ := s.judge(reading, failure)
			return nil, false, call, e
		}
		if err != nil {
			return nil, false, call, err
		}
		all = append(all, *page.Data...)
		if reaches(*page.Data, from) || page.Paging.Next == "" || page.Paging.Cursors.After == "" {
			return all, true, call, nil
		}
		after = page.Paging.Cursors.After
	}
	return all, false, call, nil
}

func (s *session) readPage(ctx context.Context, fields, after string) (mediaPage, connectors.Call, *apiError, error) {
	name, edge := callList, "media"
	if s.post.MediaType == connectors.Story {
		name, edge = callStories, "stories" // and /media leaves stories out
	}
	r := s.connector.request(s.account, name, http.MethodGet, "/{user}/"+edge, s.account.ProviderAccountID, edge)
	r.Query = url.Values{"limit": {"25"}}
	if after != "" {
		r.Query.Set("after", after)
	}
	var page mediaPage
	call, failure, err := s.connector.get(ctx, r, fields, &page)
	if err == nil && failure == nil && page.Data == nil {
		failure = &apiError{Status: call.Status, Unreadable: true, Call: call}
	}
	return page, call, failure, err
}

// reaches says whether the last media that tells its time is older than from.
func reaches(page []media, from time.Time) bool {
	for _, m := range slices.Backward(page) {
		if t := m.time(); !t.IsZero() {
			return t.Before(from)
		}
	}
	return false
}

type match int

const (
	no match = iota
	maybe
	yes
)

// compare says whether m could be the post: made since from, of the same kind,
// with the same caption.
func (s *session) compare(m media, from time.Time, captionsTold bool) match {
	result := yes
	switch t := m.time(); {
	case t.IsZero():
		result = maybe
	case t.Before(from):
		return no
	}
	types, product := s.kind()
	if m.Type == "" {
		result = maybe
	} else if !slices.Contains(types, m.Type) {
		return no
	}
	if m.Product != "" && !strings.EqualFold(m.Product, product) {
		return no
	}
	return min(result, s.compareCaption(m.Caption, captionsTold))
}

func (s *session) compareCaption(caption *string, told bool) match {
	want := normalize(s.post.Caption)
	switch {
	case s.post.MediaType == connectors.Story: // shows none
		return yes
	case caption != nil && normalize(*caption) == want:
		return yes
	case caption != nil:
		return no
	case want == "":
		return yes
	case told:
		return no
	}
	return maybe
}

// kind is how the post reads back: media_type and media_product_type.
func (s *session) kind() (types []string, product string) {
	switch s.post.MediaType {
	case connectors.Video:
		return []string{"VIDEO"}, "REELS"
	case connectors.Carousel:
		return []string{"CAROUSEL_ALBUM"}, "FEED"
	case connectors.Story:
		return []string{s.storyKind()}, "STORY"
	}
	return []string{"IMAGE"}, "FEED"
}

// normalize takes off a caption what may differ in the copy that Instagram
// keeps: Unicode form, invisible characters, white space, and the @ before
// names, which some tokens are not shown.
func normalize(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '@' || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Variation_Selector, r):
			return -1
		case unicode.IsSpace(r):
			return ' '
		}
		return r
	}, norm.NFC.String(s))
	return strings.Join(strings.Fields(s), " ")
}
