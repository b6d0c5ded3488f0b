package instagram

import (
	"context"
	"fmt"
	"time"

	"postbus.dev/services/connectors"
)

// Prepare makes one call towards a container that is ready to be published:
//
//  1. create the children of a carousel, one by one;
//  2. read each child's status until it is FINISHED;
//  3. create the container;
//  4. read its status until it is FINISHED;
//  5. read the publishing quota, unless it was read lately: Ready.
//
// Called again after Ready it reads the status again. A status PUBLISHED is an
// error of KindUnknown: a commit of this container has taken effect.
func (c *Connector) Prepare(ctx context.Context, a connectors.Account, p connectors.Post, cp connectors.Checkpoint) (connectors.Step, error) {
	s, err := c.session(a, p, cp)
	if err != nil {
		return connectors.Step{}, err
	}
	if len(s.wrong) > 0 {
		return connectors.Step{}, &connectors.Error{
			Kind: connectors.KindReject, Code: connectors.CodeValidation, Violations: s.wrong, Message: "options refused",
		}
	}
	if wait := s.cp.RestUntil.Sub(c.now()); !s.cp.RestUntil.IsZero() && wait > 0 {
		return s.step(connectors.Wait, wait, connectors.Call{}, "rests after a commit without effect"), nil
	}
	if s.cp.Main.ID == "" {
		if i := s.firstChild(func(c container) bool { return c.ID == "" }); i >= 0 {
			return s.create(ctx, &s.cp.Children[i], s.childParams(i))
		}
		if i := s.firstChild(func(c container) bool { return !c.Finished }); i >= 0 {
			return s.poll(ctx, &s.cp.Children[i], p.Children[i].MediaType == connectors.Video)
		}
		return s.create(ctx, &s.cp.Main, s.params())
	}
	if !s.cp.Main.Finished || s.left(s.cp.Main) <= 0 {
		return s.poll(ctx, &s.cp.Main, hasVideo(p, s.options))
	}
	return s.readQuota(ctx)
}

func (s *session) firstChild(is func(container) bool) int {
	for i, child := range s.cp.Children {
		if is(child) {
			return i
		}
	}
	return -1
}

// ready ends the preparation. The next Prepare, if there is one, does not
// believe what this one has read.
func (s *session) ready(call connectors.Call) connectors.Step {
	s.cp.Main.Finished = false
	s.cp.Main.Polls = 0
	step := s.step(connectors.Ready, 0, call, "")
	step.FreshFor = s.left(s.cp.Main)
	return step
}

// age is how old a container is; left, how much longer it may be used.
func (s *session) age(c container) time.Duration  { return s.connector.now().Sub(c.CreatedAt) }
func (s *session) left(c container) time.Duration { return s.connector.scale(freshFor) - s.age(c) }

// restart forgets the container at, and with it what it was made from, and
// waits before the next one is made. What goes wrong again and again ends the
// post: the account's containers are limited to 400 a day for all its posts.
func (s *session) restart(at *container, how again, e *connectors.Error) (connectors.Step, error) {
	limit := 20
	if how == few {
		limit = 5
	}
	if s.cp.Failures++; s.cp.Failures >= limit {
		e.Kind, e.Wait = connectors.KindReject, 0
		e.Message = fmt.Sprintf("%s, %d times in a row", e.Message, s.cp.Failures)
		return connectors.Step{}, e
	}
	if at == &s.cp.Main && at.ID == "" {
		clear(s.cp.Children) // the children were refused, or are too old by now
	}
	*at = container{}
	note := fmt.Sprintf("%s %s: new container", e.ProviderCode, e.Message)
	return s.step(connectors.Wait, s.connector.restartWait(s.cp.Failures), e.Call, note), nil
}
