package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/goleak"

	"postbus.dev/events"
	"postbus.dev/services/internal/httpapi/httpapitest"
	"postbus.dev/services/internal/limit"
	"postbus.dev/services/internal/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The users whose keys are pb_alice and so on.
var (
	alice = uuid.MustParse("0197e0c3-7a53-7d1c-9d63-1f0a3c0f5a01") //nolint:gochecknoglobals // constants
	bob   = uuid.MustParse("0197e0c3-7a53-7d1c-9d63-1f0a3c0f5b02") //nolint:gochecknoglobals // constants
)

// keys knows those keys until they are revoked.
type keys struct{ revoked atomic.Bool }

func (k *keys) Authenticate(_ context.Context, key string) (tenant.Caller, error) {
	if k.revoked.Load() {
		return tenant.Caller{}, tenant.ErrUnauthorized
	}
	c := tenant.Caller{UserID: alice, ExternalID: "alice", KeyID: uuid.NewSHA1(alice, []byte(key)), Scopes: []tenant.Scope{tenant.ScopePublish}}
	switch key {
	case "pb_alice", "pb_alice_2", "pb_alice_3":
	case "pb_bob":
		c.UserID, c.ExternalID = bob, "bob"
	case "pb_agency":
		c.Scopes = append(c.Scopes, tenant.ScopeOnBehalf)
	case "pb_admin":
		c.Scopes = append(c.Scopes, tenant.ScopeAdmin)
	case "pb_operator":
		c.Scopes = tenant.Scopes()
	case "pb_accounts":
		c.Scopes = []tenant.Scope{tenant.ScopeAccounts}
	default:
		return tenant.Caller{}, tenant.ErrUnauthorized
	}
	return c, nil
}

// users are alice and bob.
type users struct{}

func (users) User(_ context.Context, externalID string) (tenant.User, error) {
	switch externalID {
	case "alice":
		return tenant.User{ID: alice, ExternalID: "alice"}, nil
	case "bob":
		return tenant.User{ID: bob, ExternalID: "bob"}, nil
	default:
		return tenant.User{}, tenant.ErrNoUser
	}
}

// plenty allows every call.
type plenty struct{}

func (plenty) Use(_ context.Context, asks []limit.Ask) ([]limit.Decision, error) {
	ds := make([]limit.Decision, len(asks))
	for i, a := range asks {
		ds[i] = limit.Decision{Allowed: true, Remaining: a.Limit - 1, Reset: time.Minute}
	}
	return ds, nil
}

// store is a Publishes in memory. Its fields are changed under mu.
type store struct {
	mu       sync.Mutex
	rows     map[uuid.UUID]Publish
	sums     map[uuid.UUID][32]byte
	requests []Request
	canceled []uuid.UUID
	filters  []Filter
	due      []time.Time
	verdicts []Verdict

	onAccept  func(ctx context.Context, p *Publish) // before the row is there
	onStored  func(p Publish) Publish               // what the row has become when Accept returns
	budget    limit.Decision
	acceptErr error
	getErr    error
	cancelErr error
	changeErr error // of Reschedule and Resolve
}

func (s *store) Accept(ctx context.Context, r Request) (Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.acceptErr != nil {
		return Receipt{}, s.acceptErr
	}
	if !s.budget.Allowed {
		return Receipt{Budget: s.budget}, nil
	}
	s.requests = append(s.requests, r)
	id := r.PublishID()
	if sum, known := s.sums[id]; known {
		return Receipt{Budget: s.budget, Known: true, Same: sum == r.SHA256}, nil
	}
	p := Publish{
		ID: id, Source: r.Source, RequestID: r.ID, UserID: r.Caller.UserID, Provider: r.Provider, MediaType: "IMAGE",
		State: "accepted", AcceptedAt: time.Now(), DueAt: time.Now(),
	}
	if s.onAccept != nil {
		s.onAccept(ctx, &p)
	}
	s.rows[id], s.sums[id] = p, r.SHA256
	if s.onStored != nil {
		s.rows[id] = s.onStored(p)
	}
	return Receipt{Budget: s.budget, Publish: p}, nil
}

func (s *store) Get(ctx context.Context, id uuid.UUID) (Publish, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.getErr != nil {
		return Publish{}, s.getErr
	}
	p, ok := s.rows[id]
	if !ok {
		return Publish{}, ErrNotFound
	}
	return p, ctx.Err()
}

func (s *store) Cancel(_ context.Context, id uuid.UUID, _ tenant.Caller) (Publish, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.canceled = append(s.canceled, id)
	p := s.rows[id]
	if s.cancelErr == nil {
		p.State = stateCanceled
		s.rows[id] = p
	}
	return p, s.cancelErr
}

func (s *store) List(_ context.Context, f Filter) ([]Publish, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.filters = append(s.filters, f)
	var out []Publish
	for _, p := range s.rows {
		if p.UserID == f.UserID && (f.After.IsZero() || p.AcceptedAt.Before(f.After)) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b Publish) int { return b.AcceptedAt.Compare(a.AcceptedAt) })
	return out[:min(len(out), f.Limit)], s.getErr
}

func (s *store) Reschedule(_ context.Context, id uuid.UUID, due time.Time) (Publish, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.due = append(s.due, due)
	p := s.rows[id]
	p.DueAt = due
	return p, s.changeErr
}

func (s *store) Resolve(_ context.Context, id uuid.UUID, v Verdict, _ tenant.Caller) (Publish, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verdicts = append(s.verdicts, v)
	return s.rows[id], s.changeErr
}

func (s *store) put(p Publish) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows[p.ID] = p
}

// end changes the row of the only publish there is.
func (s *store) end(change func(*Publish)) uuid.UUID {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, p := range s.rows {
		change(&p)
		s.rows[id] = p
		return id
	}
	return uuid.Nil
}

// wire is a bus that a test speaks on.
type wire struct {
	mu          sync.Mutex
	subs        map[string]func(event.Event)
	reconnected func()
}

func (w *wire) Subscribe(subject string, f func(event.Event)) (func(), error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.subs[subject] = f
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.subs, subject)
	}, nil
}

func (w *wire) OnReconnect(f func()) { w.reconnected = f }

func (w *wire) say(subject string, publish uuid.UUID) { w.tell(subject, publish, 0) }

// tell says it with the publish's version.
func (w *wire) tell(subject string, publish uuid.UUID, version int64) {
	w.send(subject, publish, version, "line\nbreak")
}

func (w *wire) send(subject string, publish uuid.UUID, version int64, text string) {
	e := event.New()
	e.SetType(subject)
	e.SetSubject(publish.String())
	e.SetExtension(events.ExtSequence, events.FormatSequence(version))
	_ = e.SetData("application/json", map[string]any{"publishId": publish, "says": text})
	w.mu.Lock()
	f := w.subs[subject]
	w.mu.Unlock()
	f(e)
}

type bundle struct {
	*testing.T
	api   *API
	doc   httpapitest.Promises
	keys  *keys
	store *store
	wire  *wire
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{T: t, keys: &keys{},
		store: &store{rows: map[uuid.UUID]Publish{}, sums: map[uuid.UUID][32]byte{}, budget: limit.Decision{Allowed: true, Remaining: 19}},
		wire:  &wire{subs: map[string]func(event.Event){}},
	}
	var err error
	b.api, err = New(Config{Publishes: b.store, Finals: b.wire, Keys: b.keys, Users: users{}, Budgets: plenty{}, Providers: []string{"instagram", "reddit"}, Tracer: sdktrace.NewTracerProvider()})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := Document()
	if err != nil {
		t.Fatal(err)
	}
	b.doc = httpapitest.Read(t, doc)
	t.Cleanup(func() {
		b.api.Close()
		if len(b.wire.subs) != 0 || len(b.api.waiters.by) != 0 || len(b.api.streams.by) != 0 {
			t.Errorf("left behind: %d subscriptions, %d waiters, %d streams", len(b.wire.subs), len(b.api.waiters.by), len(b.api.streams.by))
		}
	})
	return b
}

const image = `{"mediaType":"IMAGE","mediaUrl":"https://example.com/image.jpg"}`

type answer struct {
	status int
	header http.Header
	data   map[string]any
	err    struct {
		Code       string
		Message    string
		Retryable  bool
		RetryAfter int64
		Details    struct {
			PublishID, IdempotencyKey, State, ProviderCode, ProviderRequestID string
			Violations                                                        []events.Violation
		}
	}
	took time.Duration
	raw  string
}

// post asks for a publish; headers are name, value, ...
func (b *bundle) post(body string, headers ...string) answer {
	return b.send(b.Context(), http.MethodPost, "/api/instagram/publish", body, headers...)
}

func (b *bundle) send(ctx context.Context, method, path, body string, headers ...string) answer {
	b.Helper()
	var reader io.Reader = http.NoBody
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequestWithContext(ctx, method, path, reader)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer pb_alice")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	began := time.Now()
	b.api.ServeHTTP(rec, r)
	b.doc.Check(b, r, rec.Code, rec.Header())
	a := answer{status: rec.Code, header: rec.Header(), took: time.Since(began), raw: rec.Body.String()}
	var envelope struct {
		Data  *map[string]any
		Error any
	}
	envelope.Data, envelope.Error = &a.data, &a.err
	if rec.Header().Get("Content-Type") == "text/event-stream" || rec.Body.Len() == 0 {
		return a
	}
	dec := json.NewDecoder(bytes.NewReader(rec.Body.Bytes()))
	if err := dec.Decode(&envelope); err != nil {
		b.Errorf("%d is no JSON: %s", rec.Code, a.raw)
	}
	return a
}

func (a answer) wants(t testing.TB, status int, code string) {
	t.Helper()
	if a.status != status || a.err.Code != code {
		t.Errorf("answered %d %s, want %d %s", a.status, a.raw, status, code)
	}
}

func complete(p *Publish) {
	p.State = stateCompleted
	p.Result = &Result{
		PostID: "17895695668004550", Permalink: "https://www.instagram.com/p/Bc/", Caption: "hello",
		Timestamp: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), Metadata: json.RawMessage(`{"container":"1"}`),
	}
}
