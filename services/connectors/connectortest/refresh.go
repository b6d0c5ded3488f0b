package connectortest

import (
	"context"
	"net/http"
	"testing"
	"time"

	"postbus.dev/services/connectors"
)

// Refresh is a connector that keeps grants alive, as a Refresher or a Checker,
// with all that is needed to test how.
type Refresh struct {
	// New makes a stand-in of its own for a test.
	New func(t *testing.T) RefreshBench
	// Connector makes the connector for a stand-in at baseURL; not configured, it
	// lacks the settings of our client.
	Connector func(baseURL string, c *connectors.Client, configured bool) (connectors.Connector, error)
	// Request says what is wrong with a request. It may be nil.
	Request func(r *http.Request, body []byte) error
}

// RefreshBench is a provider's stand-in with a grant.
type RefreshBench struct {
	Handler      http.Handler // the stand-in
	Account      connectors.Account
	RefreshToken connectors.Secret // empty where the provider has none
	// Age makes the tokens old enough to be refreshed; nil where no token is too
	// young for it.
	Age func()
	// Works says whether an access token is good for something.
	Works func(token string) bool
	// Kill ends the grant as its owner does. What undoes it is used for a Checker
	// only.
	Kill func() (undo func())
	// Rekey gives our client another secret at the provider; nil where a call shows
	// nothing of our client.
	Rekey func() (undo func())
	// Throttle makes the provider refuse calls for their number.
	Throttle func() (undo func())
	// Secrets are the client's and every token that was given out until now.
	Secrets func() []string
}

// Run runs everything, in parallel.
func (r Refresh) Run(t *testing.T) {
	for name, f := range map[string]func(*keeping){
		"keeps a grant alive":                       (*keeping).lives,
		"sends nothing that is not armed":           (*keeping).arming,
		"tells that a person has to reconnect":      (*keeping).killed,
		"tells that our client is refused":          (*keeping).rekeyed,
		"tells that it is throttled":                (*keeping).throttled,
		"tells that the settings are missing":       (*keeping).unconfigured,
		"takes a grant without tokens for a dead":   (*keeping).empty,
		"stops when it is told to, or nobody hears": (*keeping).stops,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(r.setup(t, t, time.Minute))
		})
	}
	for _, trouble := range []Trouble{
		RequestLost, ErrorBefore, AnswerLost, AnswerCut, AnswerEmpty, ErrorAfter, AnswerUnreadable, AnswerBare, AnswerWithoutToken, Silence, InformationBefore,
	} {
		t.Run("calls once: "+string(trouble), func(t *testing.T) {
			t.Parallel()
			patience := time.Minute
			if trouble == Silence {
				patience = time.Second / 2
			}
			r.setup(t, t, patience).breaks(trouble)
		})
	}
}

// keeping is one test.
type keeping struct {
	RefreshBench
	*scene
	suite    Refresh
	rule     connectors.RefreshRule // zero for a Checker
	checks   bool                   // it is a Checker
	patience time.Duration          // how long an answer is waited for
	arms     int
}

func (r Refresh) setup(t *testing.T, report testing.TB, patience time.Duration) *keeping {
	t.Helper()
	b := &keeping{RefreshBench: r.New(t), suite: r, patience: patience}
	b.scene = newScene(t, report, stage{
		handler: b.Handler, connector: r.Connector, timeout: patience, request: r.Request,
		secrets: func() []string { return b.Secrets() },
	})
	switch c := b.connector.(type) {
	case connectors.Refresher:
		b.rule = c.RefreshRule()
	case connectors.Checker:
		b.checks = true
	default:
		t.Fatal("neither a Refresher nor a Checker")
	}
	return b
}

// ask makes the one call in a context in which a Commit may be sent.
func (b *keeping) ask() (connectors.Grant, error) {
	b.t.Helper()
	return b.call(b.armed(b.patience), b.connector)
}

// armed is a context in which one Commit may be sent in so much time.
func (b *keeping) armed(within time.Duration) context.Context {
	return connectors.WithArm(context.Background(), func(context.Context) (connectors.Window, error) {
		b.arms++
		by := time.Now().Add(within)
		return connectors.Window{SendBy: by, AnswerBy: by, UserTimeout: time.Minute}, nil
	})
}

// call asks any connector; when a Checker wants to be asked again is RefreshIn.
func (b *keeping) call(ctx context.Context, c connectors.Connector) (g connectors.Grant, err error) {
	if b.Age != nil {
		b.Age()
	}
	if refresher, ok := c.(connectors.Refresher); ok {
		g, err = refresher.Refresh(ctx, b.Account, b.RefreshToken)
	} else {
		g.RefreshIn, err = c.(connectors.Checker).Check(ctx, b.Account)
	}
	b.say(g, err)
	return g, err
}
