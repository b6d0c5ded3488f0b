package instagram

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/internal/answer"
)

// params are the parameters of the container that media_publish gets.
func (s *session) params() url.Values {
	p, o, v := s.post, s.options, url.Values{}
	switch p.MediaType {
	case connectors.Image:
		v.Set("image_url", p.MediaURL)
		set(v, "alt_text", p.AltText)
	case connectors.Video:
		v.Set("media_type", "REELS") // feed videos are reels since 2023
		v.Set("video_url", p.MediaURL)
		set(v, "cover_url", p.CoverURL)
		set(v, "audio_name", o.AudioName)
		if o.ThumbOffset != nil {
			v.Set("thumb_offset", strconv.Itoa(*o.ThumbOffset))
		}
		if o.TrialGraduation != "" {
			setJSON(v, "trial_params", map[string]string{"graduation_strategy": o.TrialGraduation})
		}
	case connectors.Story:
		v.Set("media_type", "STORIES")
		v.Set(map[string]string{storyVideo: "video_url", storyImage: "image_url"}[s.storyKind()], p.MediaURL)
	case connectors.Carousel:
		v.Set("media_type", "CAROUSEL")
		ids := make([]string, len(s.cp.Children))
		for i, child := range s.cp.Children {
			ids[i] = child.ID
		}
		v.Set("children", strings.Join(ids, ","))
	}
	set(v, "caption", p.Caption)
	set(v, "location_id", p.LocationID)
	setBool(v, "share_to_feed", o.ShareToFeed)
	setBool(v, "is_ai_generated", o.AIGenerated)
	if len(o.Collaborators) > 0 {
		setJSON(v, "collaborators", o.Collaborators)
	}
	if len(o.UserTags) > 0 {
		setJSON(v, "user_tags", o.UserTags)
	}
	return v
}

// storyKind: a story that passed Validate is one or the other.
func (s *session) storyKind() string {
	if kind := storyKind(s.post, s.options.StoryType); kind != "" {
		return kind
	}
	return storyImage
}

// childParams are the parameters of the i-th item of a carousel.
func (s *session) childParams(i int) url.Values {
	child, v := s.post.Children[i], url.Values{"is_carousel_item": {"true"}}
	if child.MediaType == connectors.Video {
		v.Set("media_type", "VIDEO")
		v.Set("video_url", child.MediaURL)
		return v
	}
	v.Set("image_url", child.MediaURL)
	set(v, "alt_text", child.AltText)
	return v
}

func set(v url.Values, name, value string) {
	if value != "" {
		v.Set(name, value)
	}
}

func setBool(v url.Values, name string, b *bool) {
	if b != nil {
		v.Set(name, strconv.FormatBool(*b))
	}
}

func setJSON(v url.Values, name string, value any) {
	b, err := json.Marshal(value)
	if err != nil {
		panic(err) // strings and finite numbers
	}
	v.Set(name, string(b))
}

// create makes one container. A crash before its id is stored leaves a
// container that nobody sees and that expires.
func (s *session) create(ctx context.Context, at *container, params url.Values) (connectors.Step, error) {
	c := s.connector
	r := c.request(s.account, callCreate, http.MethodPost, "/{user}/media", s.account.ProviderAccountID, "media")
	r.Form = params
	var out struct {
		ID answer.ID `json:"id"`
	}
	call, failure, err := c.do(ctx, r, &out)
	if err != nil {
		return connectors.Step{}, err
	}
	if failure == nil && out.ID == "" {
		failure = &apiError{Status: call.Status, Unreadable: true, Call: call}
	}
	if failure != nil {
		e, how := s.judge(creating, failure)
		if how != same {
			return s.restart(at, how, e)
		}
		return connectors.Step{}, e
	}
	*at = container{ID: string(out.ID), CreatedAt: c.now()}
	if i := s.firstChild(func(c container) bool { return c.ID == "" }); i >= 0 {
		return s.step(connectors.Continue, 0, call, ""), nil
	}
	return s.step(connectors.Wait, c.pollWait(hasVideo(s.post, s.options), 0), call, ""), nil
}

// status is what a container says of itself.
type status struct {
	Code string
	Text string
	Call connectors.Call
}

// The states of a container.
const (
	inProgress = "IN_PROGRESS"
	finished   = "FINISHED"
	published  = "PUBLISHED"
	failed     = "ERROR"
	expired    = "EXPIRED"
)

// readStatus reads a container.
func (s *session) readStatus(ctx context.Context, containerID string) (status, *apiError, error) {
	r := s.connector.request(s.account, callContainer, http.MethodGet, "/{container}", containerID)
	var out struct {
		Code string `json:"status_code"`
		Text string `json:"status"`
	}
	call, failure, err := s.connector.get(ctx, r, "id,status_code,status", &out)
	if err != nil || failure != nil {
		return status{Call: call}, failure, err
	}
	return status{Code: statusCode(out.Code, out.Text), Text: out.Text, Call: call}, nil, nil
}

// statusCode goes by status_code; where only the text is filled in, as has been
// seen, by its first words. What is neither is "".
func statusCode(code, text string) string {
	if code == "" {
		code, _, _ = strings.Cut(text, ":")
	}
	code = strings.ToUpper(strings.ReplaceAll(strings.TrimSpace(code), " ", "_"))
	switch code {
	case inProgress, finished, published, failed, expired:
		return code
	}
	return ""
}

// poll reads a container's status and decides what follows.
func (s *session) poll(ctx context.Context, at *container, video bool) (connectors.Step, error) {
	c := s.connector
	st, failure, err := s.readStatus(ctx, at.ID)
	if err != nil {
		return connectors.Step{}, err
	}
	if failure != nil {
		return s.unreadable(at, failure)
	}
	switch st.Code {
	case finished:
		return s.finished(at, st)
	case published:
		return connectors.Step{}, &connectors.Error{
			Kind: connectors.KindUnknown, Code: connectors.CodeInternal, Call: st.Call, Message: "container is PUBLISHED already",
		}
	case failed:
		return s.failed(at, st)
	case expired:
		return s.restart(at, fresh, &connectors.Error{Call: st.Call, ProviderCode: expired, Message: "container expired"})
	}
	if s.age(*at) > c.stuckAfter(video) {
		return s.restart(at, fresh, &connectors.Error{Call: st.Call, ProviderCode: inProgress, Message: "container is stuck"})
	}
	at.Polls++
	return s.step(connectors.Wait, c.pollWait(video, at.Polls), st.Call, "container in progress"), nil
}

// unreadable: the read failed. A container that could be published still is not
// given up for that, since a read that fails proves nothing.
func (s *session) unreadable(at *container, failure *apiError) (connectors.Step, error) {
	e, how := s.judge(reading, failure)
	over := s.age(*at) > s.connector.scale(day) && e.Kind == connectors.KindRetry && !failure.Unreadable
	if over || how != same && at != &s.cp.Main {
		return s.restart(at, fresh, e)
	}
	return connectors.Step{}, e
}

// finished goes on at once; a container that is too old to wait for its commit
// is replaced. FINISHED has just said that it was not published.
func (s *session) finished(at *container, st status) (connectors.Step, error) {
	if s.left(*at) <= 0 {
		if at == &s.cp.Main {
			clear(s.cp.Children)
		}
		*at = container{}
		return s.step(connectors.Continue, 0, st.Call, "container too old: new container"), nil
	}
	at.Finished = true
	if at == &s.cp.Main {
		s.cp.Failures = 0
		if s.quotaKnown() {
			return s.ready(st.Call), nil
		}
	}
	return s.step(connectors.Continue, 0, st.Call, ""), nil
}

// failed: the status holds a subcode or only words. Words decide nothing.
func (s *session) failed(at *container, st status) (connectors.Step, error) {
	e := &connectors.Error{
		Kind: connectors.KindRetry, Code: connectors.CodeMediaRejected, Call: st.Call, ProviderCode: failed, Message: "container failed",
	}
	subcode, err := strconv.Atoi(regexp.MustCompile(`\b2207[0-9]{3}\b`).FindString(st.Text))
	if err != nil {
		return s.restart(at, few, e)
	}
	e.ProviderCode = fmt.Sprintf("%s/%d", failed, subcode)
	row, ok := s.connector.errors.bySubcode(subcode)
	if !ok {
		return s.restart(at, few, e)
	}
	e.Code, e.Message = row.prepare.code, row.text
	if row.prepare.kind == connectors.KindReject {
		e.Kind = connectors.KindReject
		return connectors.Step{}, e
	}
	return s.restart(at, max(row.prepare.again, fresh), e)
}
