package instagram

import (
	"encoding/json"
	"fmt"
	"time"

	"postbus.dev/services/connectors/sandbox/stage"
)

// kept is the stand-in's state as it outlives a process.
type kept struct {
	Containers []keptContainer     `json:"containers"` // oldest first
	Users      map[string]keptUser `json:"users"`
}

type keptContainer struct {
	ID       string    `json:"id"`
	Account  string    `json:"account"`
	Params   params    `json:"params"` // which tell its kind
	Children []string  `json:"children,omitempty"`
	Created  time.Time `json:"created"`
	ReadyAt  time.Time `json:"readyAt"`
	Seen     bool      `json:"seen,omitempty"`
	Stuck    bool      `json:"stuck,omitempty"`
	Expired  bool      `json:"expired,omitempty"`
	Failed   string    `json:"failed,omitempty"`
	Media    []string  `json:"media,omitempty"`
}

type keptUser struct {
	Feed         []keptMedia `json:"feed,omitempty"`
	Stories      []keptMedia `json:"stories,omitempty"`
	Published    []time.Time `json:"published,omitempty"`
	Created      []time.Time `json:"created,omitempty"`
	Calls        int         `json:"calls,omitempty"`
	CallsSince   time.Time   `json:"callsSince,omitzero"`
	BlockedUntil time.Time   `json:"blockedUntil,omitzero"`
}

type keptMedia struct {
	Post     stage.Post `json:"post"`
	ReadType string     `json:"readType"`
	Short    string     `json:"short"`
	Visible  time.Time  `json:"visible"`
}

// Lock holds every call back.
func (ig *Instagram) Lock() { ig.mu.Lock() }

// Unlock lets them go on.
func (ig *Instagram) Unlock() { ig.mu.Unlock() }

// Keep returns the containers and the media of every account.
func (ig *Instagram) Keep() (json.RawMessage, error) {
	k := kept{Users: map[string]keptUser{}}
	for _, id := range ig.order {
		c := ig.containers[id]
		out := keptContainer{
			ID: c.id, Account: c.account, Params: c.params, Children: c.children, Created: c.created, ReadyAt: c.readyAt,
			Seen: c.seen, Stuck: c.stuck, Expired: c.expired, Failed: c.failed,
		}
		for _, m := range c.media {
			out.Media = append(out.Media, m.post.ID)
		}
		k.Containers = append(k.Containers, out)
	}
	for id, u := range ig.users {
		k.Users[id] = keptUser{
			Feed: keepMedias(u.feed), Stories: keepMedias(u.stories), Published: u.published, Created: u.created,
			Calls: u.calls, CallsSince: u.callsSince, BlockedUntil: u.blockedUntil,
		}
	}
	return json.Marshal(k)
}

func keepMedias(list []*media) []keptMedia {
	out := make([]keptMedia, len(list))
	for i, m := range list {
		out[i] = keptMedia{m.post, m.readType, m.short, m.visible}
	}
	return out
}

// Restore takes up what Keep returned.
func (ig *Instagram) Restore(state json.RawMessage) error {
	var k kept
	if err := json.Unmarshal(state, &k); err != nil {
		return fmt.Errorf("restore instagram: %w", err)
	}
	ig.mu.Lock()
	defer ig.mu.Unlock()
	for id, u := range k.Users {
		ig.users[id] = &user{
			feed: ig.restoreMedias(u.Feed), stories: ig.restoreMedias(u.Stories), published: u.Published, created: u.Created,
			calls: u.Calls, callsSince: u.CallsSince, blockedUntil: u.BlockedUntil,
		}
	}
	for _, c := range k.Containers {
		if err := ig.restoreContainer(c); err != nil {
			return err
		}
	}
	return nil
}

func (ig *Instagram) restoreMedias(list []keptMedia) []*media {
	out := make([]*media, len(list))
	for i, m := range list {
		out[i] = &media{m.Post, m.ReadType, m.Short, m.Visible}
		ig.media[m.Post.ID] = out[i]
	}
	return out
}

func (ig *Instagram) restoreContainer(c keptContainer) error {
	k, e := kindOf(c.Params)
	if e != nil {
		return fmt.Errorf("restore container %s: %s", c.ID, e.Message)
	}
	con := &container{
		id: c.ID, account: c.Account, kind: k, params: c.Params, children: c.Children, created: c.Created, readyAt: c.ReadyAt,
		seen: c.Seen, stuck: c.Stuck, expired: c.Expired, failed: c.Failed,
	}
	for _, id := range c.Media {
		m := ig.media[id]
		if m == nil {
			m = &media{post: stage.Post{ID: id}} // so old that the lists have forgotten it
		}
		con.media = append(con.media, m)
	}
	ig.containers[con.id] = con
	ig.order = append(ig.order, con.id)
	return nil
}
