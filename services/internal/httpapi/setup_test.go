package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"postbus.dev/services/internal/limit"
	"postbus.dev/services/internal/telemetry/telemetrytest"
	"postbus.dev/services/internal/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// keys knows one key.
type keys struct{}

func (keys) Authenticate(_ context.Context, key string) (tenant.Caller, error) {
	switch key {
	case "pb_good":
		return tenant.Caller{UserID: uuid.UUID{1}, KeyID: uuid.UUID{2}, ExternalID: "demo", Scopes: []tenant.Scope{tenant.ScopePublish}}, nil
	case "pb_other": // another key of the same user
		return tenant.Caller{UserID: uuid.UUID{1}, KeyID: uuid.UUID{3}, ExternalID: "demo"}, nil
	case "pb_down":
		return tenant.Caller{}, errors.New("database is away at db.internal")
	default:
		return tenant.Caller{}, tenant.ErrUnauthorized
	}
}

// counter allows a number of calls a budget.
type counter struct {
	mu   sync.Mutex
	used map[string]int64
	down error
}

func (c *counter) Use(_ context.Context, asks []limit.Ask) ([]limit.Decision, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ds := make([]limit.Decision, len(asks))
	spent := false
	for i, a := range asks {
		ds[i] = limit.Decision{Allowed: c.used[a.Key] < a.Limit, Remaining: a.Limit - c.used[a.Key], Reset: 3 * time.Second}
		spent = spent || !ds[i].Allowed
	}
	for i, a := range asks {
		if !spent {
			c.used[a.Key]++
			ds[i].Remaining--
		}
	}
	return ds, c.down
}

type bundle struct {
	api   *API
	calls *counter
	spans *tracetest.InMemoryExporter
	logs  *telemetrytest.Log
}

type echoInput struct {
	ID      string `path:"id" format:"uuid"`
	Limit   int    `query:"limit" minimum:"1" maximum:"10" default:"5"`
	RawBody []byte `contentType:"application/json"`
}

type echo struct {
	ID     string `json:"id"`
	Caller string `json:"caller"`
	Body   string `json:"body"`
}

type listInput struct {
	PageInput
}

// setup registers POST /things/{id}, which answers with what fail returns if
// that is an error; GET /things, which has a cursor;
// POST /own, which counts its calls itself; and GET /public.
func setup(t *testing.T, fail func(ctx context.Context, in *echoInput) error) bundle {
	t.Helper()
	b := bundle{spans: tracetest.NewInMemoryExporter(), logs: &telemetrytest.Log{}, calls: &counter{used: map[string]int64{}}}
	tp := sdktrace.NewTracerProvider(sdktrace.WithSyncer(b.spans))
	var err error
	b.api, err = New(Config{
		Title: "Things", Version: "1", Keys: keys{}, Budgets: b.calls, Limits: Limits{PerKey: 50, PerUser: 70}, Tracer: tp,
		Logger: slog.New(slog.NewJSONHandler(b.logs, nil)), BodyLimit: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	Register(b.api, huma.Operation{OperationID: "post-thing", Method: http.MethodPost, Path: "/things/{id}"}, []Code{CodeConflict},
		func(ctx context.Context, in *echoInput) (Reply[echo], error) {
			if fail != nil {
				if err := fail(ctx, in); err != nil {
					return Reply[echo]{}, err
				}
			}
			return Reply[echo]{Status: http.StatusCreated, Data: echo{in.ID, CallerOf(ctx).ExternalID, string(in.RawBody)}}, nil
		})
	Register(b.api, huma.Operation{OperationID: "list-things", Method: http.MethodGet, Path: "/things"}, nil,
		func(_ context.Context, in *listInput) (Reply[Page[string]], error) {
			var last string
			_, err := in.Place(&last)
			return Reply[Page[string]]{Data: Page[string]{Items: []string{last}}}, err
		})
	own := huma.Operation{OperationID: "own", Method: http.MethodPost, Path: "/own", Metadata: map[string]any{CountsItself: true}}
	Register(b.api, own, []Code{CodeRateLimitExceeded}, func(context.Context, *struct{}) (Reply[echo], error) { return Reply[echo]{}, nil })
	Register(b.api, huma.Operation{OperationID: "public", Method: http.MethodGet, Path: "/public", Security: []map[string][]string{}}, nil,
		func(ctx context.Context, _ *struct{}) (Reply[echo], error) {
			return Reply[echo]{Data: echo{Caller: CallerOf(ctx).ExternalID}}, nil
		})
	return b
}

const thing = "/things/0197e0c3-7a53-7d1c-9d63-1f0a3c0f5a01"

// request is a good one unless the test changes it.
func request(method, path, body string) *http.Request {
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req := httptest.NewRequest(method, path, r)
	req.Header.Set("Authorization", "Bearer pb_good")
	req.Header.Set("Content-Type", "application/json")
	return req
}

type answer struct {
	status int
	header http.Header
	body   struct {
		Success *bool           `json:"success"`
		Data    json.RawMessage `json:"data"`
		Error   *struct {
			Code       string `json:"code"`
			Message    string `json:"message"`
			Retryable  bool   `json:"retryable"`
			RetryAfter int64  `json:"retryAfter"`
			Details    struct {
				Violations []struct{ Field, Rule, Message string } `json:"violations"`
			} `json:"details"`
		} `json:"error"`
		Meta struct {
			RequestID string    `json:"requestId"`
			Timestamp time.Time `json:"timestamp"`
			TraceID   string    `json:"traceId"`
		} `json:"meta"`
	}
	raw string
}

// do checks what holds for every answer.
func (b bundle) do(t *testing.T, r *http.Request) answer {
	t.Helper()
	rec := httptest.NewRecorder()
	b.api.ServeHTTP(rec, r)
	return check(t, rec.Code, rec.Header(), rec.Body.Bytes())
}

func check(t *testing.T, status int, header http.Header, body []byte) answer {
	t.Helper()
	a := answer{status: status, header: header, raw: string(body)}
	if err := json.Unmarshal(body, &a.body); err != nil {
		t.Fatalf("%d is no JSON: %q", status, body)
	}
	if header.Get("Content-Type") != "application/json" {
		t.Errorf("content type is %q", header.Get("Content-Type"))
	}
	if a.body.Success == nil || *a.body.Success != (status < 400) || (a.body.Error == nil) != (status < 400) || (a.body.Data == nil) != (status >= 400) {
		t.Errorf("%d has the envelope %s", status, body)
	}
	if m := a.body.Meta; m.RequestID == "" || m.RequestID != header.Get("X-Request-Id") || m.Timestamp.IsZero() || m.TraceID == "" {
		t.Errorf("meta is %+v", m)
	}
	return a
}

func (a answer) wants(t *testing.T, status int, code Code) {
	t.Helper()
	if a.body.Error == nil || a.status != status || a.body.Error.Code != string(code) || a.body.Error.Message == "" {
		t.Errorf("answered %d %s, want %d %s", a.status, a.raw, status, code)
	}
}
