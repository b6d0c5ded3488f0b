package instagram

import (
	"encoding/json"
	"time"

	"postbus.dev/services/connectors"
)

// checkpoint is how far a post has come. Times are this process's wall clock;
// nothing depends on them but when a container is too old and how long to rest.
type checkpoint struct {
	Version  int         `json:"v"`
	Children []container `json:"children,omitempty"` // of a carousel, in order
	Main     container   `json:"main"`               // what media_publish gets
	Failures int         `json:"failures,omitempty"` // containers that came to nothing in a row
	QuotaAt  time.Time   `json:"quotaAt,omitzero"`   // when the quota was read and not used up

	Absences  int       `json:"absences,omitempty"`  // how often Find proved that a commit made no post
	RestUntil time.Time `json:"restUntil,omitzero"`  // not to be committed before
	Looks     int       `json:"looks,omitempty"`     // at a PUBLISHED container without finding its media
	Candidate string    `json:"candidate,omitempty"` // the only match of the look before

	MediaID string `json:"mediaId,omitempty"` // as media_publish answered
	Reads   int    `json:"reads,omitempty"`   // attempts to read the media back
	Bare    bool   `json:"bare,omitempty"`    // read back the fields that every account has
}

const checkpointVersion = 1

// container is a media container on Instagram.
type container struct {
	ID        string    `json:"id,omitempty"`
	CreatedAt time.Time `json:"createdAt,omitzero"`
	Polls     int       `json:"polls,omitempty"`
	Finished  bool      `json:"finished,omitempty"` // and needs no further read before the next step
}

// session is one call of the runner: the post and how far it has come.
type session struct {
	connector *Connector
	account   connectors.Account
	post      connectors.Post
	options   options
	wrong     []connectors.Violation // with the options; only Prepare refuses a post for it
	cp        checkpoint
}

func (c *Connector) session(a connectors.Account, p connectors.Post, raw connectors.Checkpoint) (*session, error) {
	s := &session{connector: c, account: a, post: p, cp: checkpoint{Version: checkpointVersion}}
	s.options, s.wrong = c.parseOptions(p)
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &s.cp); err != nil || s.cp.Version != checkpointVersion {
			// Of another version of this connector: one that knows it goes on.
			return nil, &connectors.Error{Kind: connectors.KindRetry, Code: connectors.CodeInternal, Message: "checkpoint of an unknown version"}
		}
	}
	if len(s.cp.Children) == 0 && p.MediaType == connectors.Carousel {
		s.cp.Children = make([]container, len(p.Children))
	}
	return s, nil
}

// save renders the checkpoint.
func (s *session) save() connectors.Checkpoint {
	b, err := json.Marshal(s.cp)
	if err != nil {
		panic(err) // plain data
	}
	return b
}

// step answers the runner with the checkpoint as it is now.
func (s *session) step(next connectors.Next, wait time.Duration, call connectors.Call, note string) connectors.Step {
	return connectors.Step{Next: next, Checkpoint: s.save(), Wait: wait, Call: call, Note: note}
}

// private is what no error may quote.
func (s *session) private() []string {
	p := s.post
	list := []string{s.account.AccessToken.Reveal(), p.Caption, p.AltText, p.MediaURL, p.CoverURL, string(p.Options)}
	for _, child := range p.Children {
		list = append(list, child.MediaURL, child.AltText)
	}
	return list
}
