package instagram

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"postbus.dev/services/connectors"
)

// Every documented error: what it means for a call that makes a container and
// for media_publish. "new" is KindRetry with a new container.
func TestEveryDocumentedErrorAsksForItsAction(t *testing.T) {
	t.Parallel()
	const (
		retry, wait, refresh = connectors.KindRetry, connectors.KindWait, connectors.KindRefresh
		reauth, reject       = connectors.KindReauthorize, connectors.KindReject
		unknown              = connectors.KindUnknown
		newContainer         = connectors.Kind(100)
	)
	for _, tc := range []struct {
		code, subcode    int
		prepare, publish connectors.Kind
	}{
		{1, 0, retry, unknown},
		{1, 99, retry, unknown},
		{2, 0, retry, unknown},
		{-1, 2207001, retry, unknown},
		{-1, 2207032, newContainer, unknown},
		{-1, 2207053, newContainer, unknown},
		{-2, 2207003, newContainer, unknown},
		{-2, 2207020, newContainer, unknown},
		{24, 2207008, newContainer, unknown},
		{24, 2207006, newContainer, unknown},
		{9007, 2207027, retry, retry},
		{9007, 0, retry, retry},
		{9007, 99, newContainer, unknown},
		{9004, 2207052, newContainer, unknown},
		{4, 0, wait, wait},
		{4, 99, wait, unknown},
		{4, 2207051, wait, unknown},
		{17, 0, wait, wait},
		{32, 0, wait, wait},
		{613, 0, wait, wait},
		{80002, 0, wait, wait},
		{9, 2207042, wait, wait},
		{25, 2207050, reject, reject},
		{190, 0, refresh, refresh},
		{190, 467, refresh, refresh},
		{190, 463, reauth, reauth},
		{190, 458, reauth, reauth},
		{190, 459, reauth, reauth},
		{190, 460, reauth, reauth},
		{190, 464, reauth, reauth},
		{190, 492, reauth, reauth},
		{102, 0, refresh, refresh},
		{463, 0, reauth, reauth},
		{467, 0, refresh, refresh},
		{3, 0, reauth, reauth},
		{10, 0, reauth, reauth},
		{200, 0, reauth, reauth},
		{230, 5, reauth, reauth},
		{299, 0, reauth, reauth},
		{300, 0, newContainer, unknown},
		{368, 0, wait, unknown},
		{100, 33, retry, unknown},
		{100, 0, reject, unknown},
		{100, 99, reject, unknown},
		{100, 2207023, reject, reject},
		{100, 2207028, reject, reject},
		{100, 2207040, reject, reject},
		{352, 2207026, reject, reject},
		{36000, 2207004, reject, reject},
		{36001, 2207005, reject, reject},
		{36003, 2207009, reject, reject},
		{36004, 2207010, reject, reject},
		{1, 2207057, reject, reject},
		{100, 2207081, reject, unknown},
		{777, 2207081, reject, unknown},
		{777, 2207082, newContainer, unknown},
		{777, 2207077, newContainer, unknown},
		{506, 0, reject, unknown},
		{424242, 0, newContainer, unknown},
	} {
		t.Run(fmt.Sprintf("%d-%d", tc.code, tc.subcode), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.on("POST "+mediaPath, graphError(tc.code, tc.subcode)).on("POST "+pubPath, graphError(tc.code, tc.subcode))
			step, _, err := b.prepare(image, checkpoint{})
			if tc.prepare == newContainer {
				if err != nil || step.Next != connectors.Wait || step.Wait != 30*time.Second || step.Note == "" {
					t.Errorf("prepare: got %+v, %v", step, err)
				}
			} else {
				wantError(t, err, tc.prepare)
			}
			_, _, err = b.commit(image, b.prepared())
			e := wantError(t, err, tc.publish)
			if e.Call.Name != callPublish || e.Call.Status != 400 || e.Call.RequestID != "AbC" || e.NotSent || e.Restart {
				t.Errorf("publish: got %+v", e)
			}
		})
	}
}

// What is not Meta's envelope, or contradicts itself.
func TestAnswerThatNobodyDocumented(t *testing.T) {
	t.Parallel()
	const retry, wait, refresh, unknown = connectors.KindRetry, connectors.KindWait, connectors.KindRefresh, connectors.KindUnknown
	envelope := graphError(9007, 2207027).body
	for name, tc := range map[string]struct {
		reply            reply
		prepare, publish connectors.Kind
	}{
		"500":                                   {reply{status: 500, body: "oops"}, retry, unknown},
		"503 with an error that proves refusal": {reply{status: 503, body: envelope}, retry, unknown},
		"200 with an error that proves refusal": {reply{body: envelope}, retry, unknown},
		"200 without an id":                     {reply{body: `{"success":true}`}, retry, unknown},
		"200 with null":                         {reply{body: `null`}, retry, unknown},
		"200 with a list":                       {reply{body: `[{"id":"1"}]`}, retry, unknown},
		"200 with half an object":               {reply{body: `{"id":"1`}, retry, unknown},
		"200 with two objects":                  {reply{body: `{"id":"1"}{"id":"2"}`}, retry, unknown},
		"200 with two items":                    {reply{body: `{"data":[{"id":"1"},{"id":"2"}]}`}, retry, unknown},
		"200 with HTML":                         {reply{body: "<html>"}, retry, unknown},
		"204":                                   {reply{status: 204}, retry, unknown},
		"302":                                   {reply{status: 302, header: http.Header{"Location": {"/login"}}}, retry, unknown},
		"400 without an envelope":               {reply{status: 400, body: "bad"}, retry, unknown},
		"400 with an error that is a string":    {reply{status: 400, body: `{"error":"bad"}`}, retry, unknown},
		"403 of a proxy":                        {reply{status: 403, body: "<html>"}, retry, unknown},
		"401 without an envelope":               {reply{status: 401}, refresh, refresh},
		"429 without an envelope":               {reply{status: 429}, wait, wait},
		"unknown code, transient":               {reply{status: 400, body: `{"error":{"code":4242,"is_transient":true}}`}, retry, unknown},
		"permanent code, transient":             {reply{status: 400, body: `{"error":{"code":36003,"error_subcode":2207009,"is_transient":true}}`}, retry, unknown},
		"rate limit, transient":                 {reply{status: 400, body: `{"error":{"code":4,"is_transient":true}}`}, wait, wait},
		"unknown code with 429":                 {reply{status: 429, body: `{"error":{"code":4242}}`}, wait, wait},
		"subcode as a string":                   {reply{status: 400, body: `{"error":{"code":"9007","error_subcode":"2207027"}}`}, retry, retry},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.on("POST "+mediaPath, tc.reply).on("POST "+pubPath, tc.reply)
			_, _, err := b.prepare(image, checkpoint{})
			wantError(t, err, tc.prepare)
			_, _, err = b.commit(image, b.prepared())
			wantError(t, err, tc.publish)
		})
	}
}

func TestWaitOfARateLimit(t *testing.T) {
	t.Parallel()
	usage := func(s string) http.Header { return http.Header{"X-Business-Use-Case-Usage": {s}} }
	for name, tc := range map[string]struct {
		header http.Header
		code   int
		want   time.Duration
		scope  connectors.Scope
	}{
		"minutes of the header": {usage(`{"17841":[{"type":"instagram","call_count":100,"estimated_time_to_regain_access":19}]}`), 80002, 19 * time.Minute, connectors.ScopeAccount},
		"longest of several":    {usage(`{"1":[{"type":"instagram","estimated_time_to_regain_access":5}],"2":[{"type":"instagram","estimated_time_to_regain_access":7},{"type":"pages","estimated_time_to_regain_access":99}]}`), 80002, 7 * time.Minute, connectors.ScopeAccount},
		"none":                  {usage(`{"1":[{"type":"instagram","call_count":100,"estimated_time_to_regain_access":0}]}`), 80002, time.Hour, connectors.ScopeAccount},
		"unreadable":            {usage(`{`), 17, time.Hour, connectors.ScopeAccount},
		"absurd":                {usage(`{"1":[{"type":"instagram","estimated_time_to_regain_access":1e300}]}`), 80002, 24 * time.Hour, connectors.ScopeAccount},
		"Retry-After":           {http.Header{"Retry-After": {"90"}}, 613, 90 * time.Second, connectors.ScopeAccount},
		"whole application":     {nil, 4, time.Hour, connectors.ScopeClient},
		"policy block":          {usage(`{"1":[{"type":"instagram","estimated_time_to_regain_access":1}]}`), 368, 6 * time.Hour, connectors.ScopeAccount},
	} {
		b := setup(t)
		r := graphError(tc.code, 0)
		r.header = tc.header
		b.on("POST "+mediaPath, r)
		_, _, err := b.prepare(image, checkpoint{})
		e := wantError(t, err, connectors.KindWait)
		if e.Wait != tc.want || e.Scope != tc.scope || e.Reason != connectors.ReasonRateLimit {
			t.Errorf("%s: got %+v", name, e)
		}
	}
}

func TestSpamBlockOnCommitIsUnknownAndLetsTheAccountRest(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.on("POST "+pubPath, graphError(4, 2207051))
	_, _, err := b.commit(image, b.prepared())
	if e := wantError(t, err, connectors.KindUnknown); e.Scope != connectors.ScopeAccount || e.Wait != 6*time.Hour {
		t.Errorf("got %+v", e)
	}
}

func TestReadDecidesNothingFinal(t *testing.T) {
	t.Parallel()
	table := newErrorTable()
	for _, r := range table {
		code, subcode := r.code, r.subcode
		if code == star {
			code = 4242
		}
		if subcode == star {
			subcode = 0
		}
		act, _ := table.decide(reading, &apiError{Status: 400, Code: code, Subcode: subcode})
		if act.kind == connectors.KindReject || act.kind == connectors.KindUnknown {
			t.Errorf("%d/%d while reading is %v", code, subcode, act.kind)
		}
	}
}

func TestNewContainerIsNeverAskedForByAnAnswerToCommit(t *testing.T) {
	t.Parallel()
	for key, r := range newErrorTable() {
		if r.publish.again != same {
			t.Errorf("%v asks for a new container after media_publish", key)
		}
	}
}
