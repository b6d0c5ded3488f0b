package instagram

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/internal/answer"
)

// Commit publishes the container. The answer names the media; its permalink is
// Confirm's to read, since Commit makes one call.
func (c *Connector) Commit(ctx context.Context, a connectors.Account, p connectors.Post, cp connectors.Checkpoint) (connectors.Step, error) {
	s, err := c.session(a, p, cp)
	if err != nil {
		return connectors.Step{}, err
	}
	if s.cp.Main.ID == "" {
		return connectors.Step{}, notPrepared()
	}
	r := c.request(a, callPublish, http.MethodPost, "/{user}/media_publish", a.ProviderAccountID, "media_publish")
	r.Form = url.Values{"creation_id": {s.cp.Main.ID}}
	resp, err := c.client.Commit(ctx, r)
	if err != nil {
		return connectors.Step{}, err
	}
	var out struct {
		ID answer.ID `json:"id"`
	}
	failure := read(resp, &out)
	if failure == nil && out.ID == "" {
		failure = &apiError{Status: resp.Status, Unreadable: true, Call: resp.Call}
	}
	if failure != nil {
		e, _ := s.judge(publishing, failure)
		return connectors.Step{}, e
	}
	s.cp.MediaID = string(out.ID)
	step := s.step(connectors.Accepted, 0, resp.Call, "")
	step.Post = &connectors.RemotePost{ID: s.cp.MediaID, Caption: p.Caption}
	return step, nil
}

func notPrepared() *connectors.Error {
	return &connectors.Error{
		Kind: connectors.KindRetry, Code: connectors.CodeInternal, NotSent: true, Restart: true, Message: "no container in the checkpoint",
	}
}

// Confirm reads the published media back. That the post is live is known
// already, so nothing that happens here fails it: reads right after publishing
// often fail, and after four of them the post is done without a permalink.
func (c *Connector) Confirm(ctx context.Context, a connectors.Account, p connectors.Post, cp connectors.Checkpoint) (connectors.Step, error) {
	s, err := c.session(a, p, cp)
	if err != nil {
		return connectors.Step{}, err
	}
	if s.cp.MediaID == "" {
		return connectors.Step{}, &connectors.Error{Kind: connectors.KindUnknown, Code: connectors.CodeInternal, Message: "no media id in the checkpoint"}
	}
	m, call, failure, err := s.readMedia(ctx)
	switch {
	case ctx.Err() != nil && err != nil:
		return connectors.Step{}, err // this process stops; the next one reads
	case err == nil && failure == nil:
		return s.done(m.remote(p.Caption), call), nil
	case failure.fieldRefused() && !s.cp.Bare:
		s.cp.Bare = true
		return s.step(connectors.Continue, 0, call, "fields refused: reads fewer"), nil
	}
	return s.readAgain(call, failure, err), nil
}

// readAgain waits for the next read, a few times.
func (s *session) readAgain(call connectors.Call, failure *apiError, err error) connectors.Step {
	waits := []time.Duration{2 * time.Second, 5 * time.Second, 15 * time.Second}
	note := "permalink not readable"
	if failure != nil {
		note += ": " + failure.providerCode()
	} else if err != nil {
		note += ": " + err.Error()
	}
	if s.cp.Reads++; s.cp.Reads <= len(waits) {
		return s.step(connectors.Wait, s.connector.scale(waits[s.cp.Reads-1]), call, note)
	}
	step := s.done(&connectors.RemotePost{ID: s.cp.MediaID, Caption: s.post.Caption}, call)
	step.Note = note
	return step
}

func (s *session) done(post *connectors.RemotePost, call connectors.Call) connectors.Step {
	step := s.step(connectors.Done, 0, call, "")
	step.Post = post
	return step
}

// The fields of a media. Not every account is given all of them, and an
// unknown field refuses the whole read.
const (
	mediaFields = "id,permalink,shortcode,media_type,media_product_type,timestamp,caption,username"
	listFields  = "id,caption,media_type,media_product_type,permalink,timestamp"
	bareFields  = "id,media_type,permalink,timestamp"
)

func (s *session) readMedia(ctx context.Context) (media, connectors.Call, *apiError, error) {
	fields := mediaFields
	if s.cp.Bare {
		fields = bareFields
	}
	var m media
	r := s.connector.request(s.account, callMedia, http.MethodGet, "/{media}", s.cp.MediaID)
	call, failure, err := s.connector.get(ctx, r, fields, &m)
	if err == nil && failure == nil && string(m.ID) != s.cp.MediaID {
		err = &connectors.Error{Kind: connectors.KindRetry, Code: connectors.CodeUnavailable, Call: call, Err: errOtherMedia}
	}
	return m, call, failure, err
}

var errOtherMedia = errors.New("answer is about another media")

// fieldRefused: error 100 without the subcode of an unreadable object.
func (e *apiError) fieldRefused() bool {
	return e != nil && !e.Unreadable && e.Code == 100 && e.Subcode != 33
}

// media is an IG Media.
type media struct {
	ID        answer.ID `json:"id"`
	Permalink string    `json:"permalink"`
	Shortcode string    `json:"shortcode"`
	Type      string    `json:"media_type"`
	Product   string    `json:"media_product_type"`
	Timestamp string    `json:"timestamp"`
	Caption   *string   `json:"caption"` // nil: none, or not told to this account
	Username  string    `json:"username"`
}

// time is when the media was published; zero when the answer does not say.
func (m media) time() time.Time {
	for _, layout := range []string{"2006-01-02T15:04:05-0700", time.RFC3339} {
		if t, err := time.Parse(layout, m.Timestamp); err == nil {
			return t
		}
	}
	return time.Time{}
}

// remote is the media as the runner wants it; caption stands in where Instagram
// does not tell it.
func (m media) remote(caption string) *connectors.RemotePost {
	if m.Caption != nil {
		caption = *m.Caption
	}
	metadata, err := json.Marshal(struct {
		Shortcode string `json:"shortcode,omitempty"`
		Type      string `json:"mediaType,omitempty"`
		Product   string `json:"mediaProductType,omitempty"`
		Username  string `json:"username,omitempty"`
	}{m.Shortcode, m.Type, m.Product, m.Username})
	if err != nil {
		panic(err) // strings
	}
	return &connectors.RemotePost{ID: string(m.ID), URL: m.Permalink, Timestamp: m.time(), Caption: caption, Metadata: metadata}
}
