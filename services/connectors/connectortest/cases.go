package connectortest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"postbus.dev/services/connectors"
)

func (s Suite) publishes(t *testing.T) {
	s.each(t, func(t *testing.T, p connectors.Post) {
		b := s.setup(t, s.Factor)
		if v, ok := b.publisher.(connectors.Validator); ok {
			if wrong := v.Validate(p); len(wrong) > 0 {
				t.Fatalf("the sample is not valid: %+v", wrong)
			}
		}
		b.check(b.run(p, nil), Completed)
	})
}

// check holds the end of a publish to what was really posted. Whatever the
// outcome: at most one post, and the outcome says the truth about it.
func (b *bundle) check(r Result, want ...State) {
	b.t.Helper()
	posted := b.Posted()
	fail := func(what string) {
		b.t.Helper()
		b.t.Errorf("%s: %s, %d posted, last error %v\n%s", what, r.State, len(posted), r.Err, strings.Join(r.Log, "\n"))
	}
	switch {
	case len(posted) > 1:
		fail("posted more than once")
	case r.State == Completed && len(posted) == 0:
		fail("completed, but not posted")
	case r.State == Completed && r.Post.ID != "" && r.Post.ID != posted[0].ID:
		fail("completed with the id of another post: " + r.Post.ID)
	case r.State == Failed && len(posted) > 0, r.State == Waiting && len(posted) > 0:
		fail("posted all the same")
	case !slices.Contains(want, r.State):
		fail("ended otherwise than as one of " + join(want))
	}
}

func join(states []State) string {
	var s []string
	for _, st := range states {
		s = append(s, string(st))
	}
	return strings.Join(s, ", ")
}

// times: what a runner computes from the connector's times has to make sense.
func (s Suite) times(t *testing.T) {
	s.each(t, func(t *testing.T, p connectors.Post) {
		tm := s.setup(t, 1).publisher.Timing(p)
		for what, ok := range map[string]bool{
			"no lead": tm.Lead > 0, "no commit time": tm.Commit > 0, "no TCP_USER_TIMEOUT": tm.UserTO > 0, "no look": tm.Look > 0,
			"settle does not cover TCP_USER_TIMEOUT and processing": tm.Settle > tm.UserTO,
			"window is shorter than a look":                         tm.Window >= tm.Look,
			"confirming ends before the call has come to rest":      tm.Confirm > tm.Commit+tm.Settle,
			"no watch":   len(tm.Watch) > 0,
			"no backoff": tm.Backoff > 0 && tm.BackoffTo >= tm.Backoff,
		} {
			if !ok {
				t.Errorf("%s: %+v", what, tm)
			}
		}
	})
}

func (s Suite) repeats(t *testing.T) {
	s.each(t, func(t *testing.T, p connectors.Post) {
		b := s.setup(t, s.Factor)
		b.check(b.run(p, func(c *Config) { c.Repeat = true }), Completed)
	})
}

// neverSleeps runs the connector with a hundred times its production times, which
// the runner shortens: a wait inside a step would be seen, also where a machine is
// slow by itself.
func (s Suite) neverSleeps(t *testing.T) {
	const longer = 100
	s.each(t, func(t *testing.T, p connectors.Post) {
		b := s.setup(t, longer)
		b.check(b.run(p, func(c *Config) {
			c.Longest = 15 * time.Second
			c.Sleep = func(d time.Duration) { time.Sleep(time.Duration(float64(d) * s.Factor / longer)) }
		}), Completed)
	})
}

func (s Suite) wire(t *testing.T) {
	for _, trouble := range []Trouble{
		RequestLost, ErrorBefore, AnswerLost, AnswerCut, AnswerEmpty, ErrorAfter, AnswerUnreadable, Silence, InformationBefore,
	} {
		t.Run(string(trouble), func(t *testing.T) {
			t.Parallel()
			s.each(t, func(t *testing.T, p connectors.Post) {
				b := s.setup(t, s.Factor)
				b.wire.Break(trouble)
				want := []State{Completed}
				if s.NoProof && !trouble.executes() {
					want = []State{Unconfirmed}
				}
				b.check(b.run(p, nil), want...)
			})
		})
	}
	t.Run("crash after the answer", func(t *testing.T) {
		t.Parallel()
		s.each(t, func(t *testing.T, p connectors.Post) {
			b := s.setup(t, s.Factor)
			b.check(b.run(p, func(c *Config) { c.Forget, c.Repeat = true, true }), Completed)
		})
	})
}

// RunFaults runs the provider's own faults only.
func (s Suite) RunFaults(t *testing.T) {
	for _, f := range s.Faults {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			s.each(t, func(t *testing.T, p connectors.Post) {
				b := s.setup(t, s.Factor)
				f.Set(t, b.Bench)
				b.check(b.run(p, nil), f.Want...)
			})
		})
	}
}

// down: nobody listens where the provider should be.
func (s Suite) down(t *testing.T) {
	client := connectors.NewClient(connectors.ClientConfig{})
	t.Cleanup(client.Close)
	publisher, err := s.Connector("http://127.0.0.1:1", client, s.Factor)
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range s.Posts {
		_, err := publisher.Prepare(t.Context(), s.New(t).Account, p, nil)
		if e := connectors.AsError(err); err == nil || e.Kind != connectors.KindRetry {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func (s Suite) canceled(t *testing.T) {
	s.each(t, func(t *testing.T, p connectors.Post) {
		b := s.setup(t, s.Factor)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := b.publisher.Prepare(ctx, b.Account, p, nil)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("prepare: got %v", err)
		}
	})
}
