package instagram

import (
	"context"
	"fmt"
	"slices"

	"postbus.dev/services/connectors"
)

// Find looks for the outcome of a media_publish whose answer is unknown:
//
//	container    list of media        answer
//	PUBLISHED    one match            Published, once the lists have had time to
//	                                  show a second one
//	PUBLISHED    none or several      Unclear, since lists lag; Published without
//	                                  an id after looksForID looks
//	FINISHED     no possible match    Absent when quiet: this container is good still
//	ERROR,       no possible match    Absent when quiet: the next Prepare makes a
//	EXPIRED                           new container
//	these three  a possible match     Unclear
//	IN_PROGRESS  not read             Unclear: it also means still publishing
//	unreadable   read for the         Unclear
//	(100/33)     evidence
//
// A read that fails otherwise is an error and no look; it is never of
// KindReject.
func (c *Connector) Find(ctx context.Context, a connectors.Account, p connectors.Post, at connectors.Attempt, cp connectors.Checkpoint) (connectors.Found, error) {
	s, err := c.session(a, p, cp)
	if err != nil {
		return connectors.Found{}, err
	}
	if s.cp.Main.ID == "" {
		return s.found(connectors.Unclear, connectors.Call{}, "no container in the checkpoint"), nil
	}
	st, failure, err := s.readStatus(ctx, s.cp.Main.ID)
	if err != nil {
		return connectors.Found{}, err
	}
	if failure != nil {
		if failure.Code != 100 || failure.Subcode != 33 {
			e, _ := s.judge(reading, failure)
			return connectors.Found{}, e
		}
		st = status{Code: "unreadable (100/33)", Call: failure.Call}
	}
	return s.weigh(ctx, at, st)
}

// weigh holds the container's status against the account's media.
func (s *session) weigh(ctx context.Context, at connectors.Attempt, st status) (connectors.Found, error) {
	settled := st.Code == finished || st.Code == failed || st.Code == expired
	if settled && !at.Quiet || st.Code == inProgress || st.Code == "" {
		return s.found(connectors.Unclear, st.Call, fmt.Sprintf("container %q", st.Code)), nil
	}
	seen, err := s.search(ctx, at)
	if e := connectors.AsError(err); err != nil && st.Code == published && e.Kind == connectors.KindRetry && e.Call.Status > 0 {
		// That the post is live is read; only its id is not to be had this way.
		return s.live(at, sightings{call: e.Call}, fmt.Sprintf("container %s, list unreadable (%s)", st.Code, e.ProviderCode)), nil
	}
	if err != nil {
		return connectors.Found{}, err
	}
	evidence := fmt.Sprintf("container %s, %s", st.Code, seen)
	switch {
	case st.Code == published:
		return s.live(at, seen, evidence), nil
	case settled && seen.complete && len(seen.sure)+len(seen.possible) == 0:
		return s.absent(st, evidence), nil
	}
	return s.found(connectors.Unclear, seen.call, evidence), nil
}

// live: the post is published. Its media is taken when one and only one fits,
// and either the lists have caught up or the look before found the same one: a
// stranger's post with the same caption may show before ours does.
func (s *session) live(at connectors.Attempt, seen sightings, evidence string) connectors.Found {
	if len(seen.sure) == 1 && len(seen.possible) == 0 && !at.TwinUnconfirmed {
		m := seen.sure[0]
		if at.Quiet || s.cp.Candidate == string(m.ID) {
			f := s.found(connectors.Published, seen.call, evidence)
			f.Post = m.remote(s.post.Caption)
			return f
		}
		s.cp.Candidate = string(m.ID)
	} else {
		s.cp.Candidate = ""
	}
	if s.cp.Looks++; s.cp.Looks < looksForID {
		return s.found(connectors.Unclear, seen.call, evidence)
	}
	f := s.found(connectors.Published, seen.call, evidence)
	f.Post = &connectors.RemotePost{Caption: s.post.Caption}
	return f
}

// absent: nothing was made. A FINISHED container is published next time; of
// another one nothing is left.
func (s *session) absent(st status, evidence string) connectors.Found {
	s.cp.Absences++
	if wait := s.connector.absenceWait(s.cp.Absences); wait > 0 {
		s.cp.RestUntil = s.connector.now().Add(wait)
	}
	s.cp.Looks, s.cp.Candidate = 0, ""
	s.cp.Main.Finished = false
	if st.Code != finished {
		s.cp.Main = container{}
		clear(s.cp.Children)
	}
	return s.found(connectors.Absent, st.Call, evidence)
}

func (s *session) found(v connectors.Verdict, call connectors.Call, evidence string) connectors.Found {
	return connectors.Found{Verdict: v, Checkpoint: s.save(), Evidence: evidence, Call: call}
}

// sightings are the media of the account that could be the post.
type sightings struct {
	sure     []media // everything fits
	possible []media // nothing speaks against it, but something is not told
	complete bool    // the lists were read as far back as the attempt
	call     connectors.Call
}

// String tells people what was seen.
func (f sightings) String() string {
	var ids []string
	for _, m := range slices.Concat(f.sure, f.possible) {
		ids = append(ids, string(m.ID))
	}
	text := fmt.Sprintf("%d media match, %d more could", len(f.sure), len(f.possible))
	if !f.complete {
		text += ", list not read to its end"
	}
	if len(ids) > 0 {
		text += fmt.Sprintf(": %v", ids[:min(len(ids), 10)])
	}
	return text
}
