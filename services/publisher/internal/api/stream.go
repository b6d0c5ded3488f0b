package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"postbus.dev/events"
	"postbus.dev/services/internal/httpapi"
	"postbus.dev/services/internal/tenant"
)

// The limits of a stream of events.
const (
	streamsPerKey  = 20               // open at a time in a process
	streamsPerUser = 40               // the same, of all keys of a user
	streamLimit    = 10 * time.Minute // then the caller connects again
	heartbeat      = 15 * time.Second // so that nobody between takes the connection for dead; and whether the key is still valid
	writeLimit     = 10 * time.Second // for the caller to take what is sent
	reconnectIn    = 2 * time.Second  // what callers are told to wait before they connect again
)

const eventsPath = publishPathOf + "/events"

const aboutStream = `Server-sent events of one publish. The first is "snapshot", whose data is that of GET /api/publishes/{id}; then each event of the publish as it passes, named by its type, with the event's data: publish.scheduled, publish.delayed, publish.unconfirmed, publish.completed, publish.failed, publish.canceled. The stream ends after one of the last three, after 10 minutes, when the process stops, and soon after the API key has expired or was revoked.

The id of each is the publish's version. A caller that connects again with it as Last-Event-ID is sent a new snapshot if anything has changed since, and 204 if it has seen the end: that stops an EventSource. What passed meanwhile is not sent again; the snapshot says what came of it, as it does where events had to be left out. A comment comes every 15 seconds.`

// registerStream adds GET /api/publishes/{id}/events.
func (a *API) registerStream() {
	text := &huma.Schema{Type: huma.TypeString}
	httpapi.Handle(a.http, huma.Operation{
		OperationID: "publish-events", Method: http.MethodGet, Path: eventsPath, Summary: "Follow a publish", Description: aboutStream,
		Parameters: []*huma.Param{
			{Name: "id", In: "path", Required: true, Description: "The publish id", Schema: &huma.Schema{Type: huma.TypeString, Format: "uuid"}},
			{Name: "userId", In: "query", Description: "As at GET /api/publishes/{id}", Schema: &huma.Schema{Type: huma.TypeString, MaxLength: new(255)}},
			{Name: "Last-Event-ID", In: "header", Description: "The id of the last event that the caller has seen", Schema: text},
		},
		Responses: map[string]*huma.Response{
			"200": {Description: "A stream of events", Headers: map[string]*huma.Param{"Cache-Control": httpapi.NoStore(true)}, Content: map[string]*huma.MediaType{"text/event-stream": {Schema: text}}},
			"204": {Description: "The publish has ended, and the caller has seen it"},
		},
	}, []httpapi.Code{httpapi.CodeMissingScope, httpapi.CodeNotFound}, a.events)
}

// events answers GET /api/publishes/{id}/events.
func (a *API) events(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	t, id, err := streamTarget(r)
	if err != nil {
		httpapi.WriteFailure(w, r, err)
		return
	}
	caller := httpapi.CallerOf(ctx)
	if !a.streams.open(caller) {
		httpapi.WriteFailure(w, r, tooManyStreams())
		return
	}
	defer a.streams.close(caller)
	follower := a.waiters.follow(id) // before the row is read: what passes after that is seen
	defer a.waiters.remove(follower)
	p, err := a.own(ctx, t, tenant.ScopePublish)
	if err != nil {
		httpapi.WriteFailure(w, r, err)
		return
	}
	s := &stream{a: a, w: w, r: r, rc: http.NewResponseController(w), from: follower, id: id}
	if r.Header.Get("Last-Event-ID") == strconv.FormatInt(p.Version, 10) {
		if p.ended() {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		s.version = p.Version
	}
	s.run(ctx, p)
}

func streamTarget(r *http.Request) (Target, uuid.UUID, error) {
	var faults []events.Violation
	t := Target{ID: r.PathValue("id")}
	id, err := uuid.Parse(t.ID)
	if err != nil || len(t.ID) != len(uuid.Nil.String()) {
		faults = append(faults, events.Violation{Field: "path.id", Rule: "format", Message: "must be a UUID"})
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		faults = append(faults, events.Violation{Field: "query", Rule: "format", Message: "is malformed"})
	}
	for name := range query {
		if name != "userId" {
			faults = append(faults, events.Violation{Field: "query." + name, Rule: "additionalProperties", Message: "unknown query parameter"})
		}
	}
	if t.UserID = query.Get("userId"); utf8.RuneCountInString(t.UserID) > 255 {
		faults = append(faults, events.Violation{Field: "query.userId", Rule: "maxLength", Message: "is longer than 255 characters"})
	}
	if len(faults) > 0 {
		return t, id, httpapi.Invalid(faults...)
	}
	return t, id, nil
}

func tooManyStreams() error {
	return &httpapi.Error{
		Code: httpapi.CodeRateLimitExceeded, RetryAfter: reconnectIn,
		Message: "this key has " + strconv.Itoa(streamsPerKey) + " streams open, or all keys of its user " + strconv.Itoa(streamsPerUser) + "; close one",
	}
}

// stream is one caller who follows a publish.
type stream struct {
	a       *API
	w       http.ResponseWriter
	r       *http.Request
	rc      *http.ResponseController
	from    *waiter
	id      uuid.UUID
	version int64 // of the publish, as the caller knows it
	over    bool  // the caller has seen the end, or is gone
}

// run sends until the end. A caller who knows p as it is gets no snapshot.
func (s *stream) run(ctx context.Context, p Publish) {
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx holds answers back without it
	s.w.WriteHeader(http.StatusOK)
	s.send("retry: " + strconv.FormatInt(reconnectIn.Milliseconds(), 10) + "\n\n")
	s.snapshot(p)
	beat, limit := time.NewTicker(heartbeat), time.NewTimer(streamLimit)
	defer beat.Stop()
	defer limit.Stop()
	for !s.over {
		select {
		case e := <-s.from.passed:
			s.pass(e)
		case <-s.from.hint:
			s.look(ctx)
		case <-beat.C:
			if s.a.http.KeyGone(s.r) {
				return
			}
			s.send(":\n\n")
		case <-limit.C:
			return
		case <-s.a.drain:
			return
		case <-ctx.Done():
			return
		}
	}
}

// look makes up for what was not seen passing.
func (s *stream) look(ctx context.Context) {
	p, err := s.a.cfg.Publishes.Get(ctx, s.id)
	switch {
	case err == nil:
		s.snapshot(p)
	case errors.Is(err, ErrNotFound):
		s.over = true
	case ctx.Err() == nil:
		s.a.cfg.Logger.WarnContext(ctx, "read a publish that a caller follows", "publish", s.id, "error", err)
		s.over = true // it connects again
	}
}

// streams counts the open ones of each key and of each user.
type streams struct {
	mu sync.Mutex
	by map[uuid.UUID]int
}

func (s *streams) open(c tenant.Caller) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by[c.KeyID] >= streamsPerKey || s.by[c.UserID] >= streamsPerUser {
		return false
	}
	s.by[c.KeyID]++
	s.by[c.UserID]++
	return true
}

func (s *streams) close(c tenant.Caller) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range []uuid.UUID{c.KeyID, c.UserID} {
		if s.by[id]--; s.by[id] == 0 {
			delete(s.by, id)
		}
	}
}

// final are the events after which nothing comes.
func final(eventType string) bool {
	return slices.Contains([]string{events.TypePublishCompleted, events.TypePublishFailed, events.TypePublishCanceled}, eventType)
}
