package instagram

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"postbus.dev/services/connectors/sandbox/stage"
)

// The prefixes of the ids.
const (
	containerPrefix = "178"
	mediaPrefix     = "179"
)

// container is a media container.
type container struct {
	id       string
	account  string
	kind     kind
	params   params
	children []string
	created  time.Time
	readyAt  time.Time
	seen     bool // read at least once
	stuck    bool
	expired  bool
	failed   string   // the text of an ERROR
	media    []*media // what it was published as
}

// state is the status_code at this moment.
func (ig *Instagram) state(c *container) string {
	now := time.Now()
	switch {
	case len(c.media) > 0:
		return "PUBLISHED"
	case c.expired || now.After(c.created.Add(ig.st.Scale(24*time.Hour))):
		return "EXPIRED"
	case c.stuck || now.Before(c.readyAt) || ig.Now().FirstLook && !c.seen:
		return "IN_PROGRESS"
	case c.failed != "":
		return "ERROR"
	default:
		return "FINISHED"
	}
}

// createContainer is POST /{ig-user-id}/media.
func createContainer(ig *Instagram, c *call) (any, *apiError) {
	if e := ig.owns(c); e != nil {
		return nil, e
	}
	u := ig.user(c.account.ID)
	u.created = ig.within(u.created)
	if len(u.created) >= ig.Now().Containers {
		return nil, documented(9, 2207042)
	}
	k, e := kindOf(c.params)
	if e != nil {
		return nil, e
	}
	if e := k.check(c.params, ig.Now().Strict); e != nil {
		return nil, e
	}
	children, e := ig.childrenOf(c, k)
	if e != nil {
		return nil, e
	}
	u.created = append(u.created, time.Now())
	return map[string]string{"id": ig.keep(c, k, children).id}, nil
}

// childrenOf looks the children of a carousel up.
func (ig *Instagram) childrenOf(c *call, k kind) ([]string, *apiError) {
	if k.mediaType != "CAROUSEL" {
		return nil, nil
	}
	ids := childIDs(c.params["children"])
	if len(ids) < 2 || len(ids) > 10 {
		return nil, documented(100, 2207028)
	}
	for _, id := range ids {
		child := ig.containers[id]
		if child == nil || child.account != c.account.ID || !child.kind.child {
			return nil, documented(24, 2207006)
		}
		switch ig.state(child) {
		case "FINISHED":
		case "EXPIRED":
			return nil, documented(-2, 2207020)
		case "ERROR":
			return nil, documented(-1, 2207032)
		default:
			return nil, documented(9007, 2207027)
		}
	}
	return ids, nil
}

// keep makes the container, with the fate that the faults have for it.
func (ig *Instagram) keep(c *call, k kind, children []string) *container {
	wait := ig.Now().Image
	if k.video {
		wait = ig.Now().Video
	}
	now := time.Now()
	p := maps.Clone(c.params)
	delete(p, "access_token")
	con := &container{
		id: ig.st.NextID(containerPrefix), account: c.account.ID, kind: k, params: p, children: children,
		created: now, readyAt: now.Add(ig.draw(wait)),
	}
	ig.fate(con)
	ig.containers[con.id] = con
	ig.order = append(ig.order, con.id)
	if len(ig.order) > keepContainers {
		delete(ig.containers, ig.order[0])
		ig.order = ig.order[1:]
	}
	if ig.st.Chance(ig.Now().Foreign.Before) {
		ago := ig.Now().Foreign.Ago
		ig.plant(con, now.Add(-ig.st.Real(time.Duration(ago.From), time.Duration(ago.To))))
	}
	return con
}

// fate applies the faults that change what becomes of a container.
func (ig *Instagram) fate(con *container) {
	if _, ok := ig.st.Faults.State("container_stuck", Name, CallCreate, con.account); ok {
		con.stuck = true
	}
	if f, ok := ig.st.Faults.State("container_expired", Name, CallCreate, con.account); ok {
		con.expired = f.Delay == 0
		if !con.expired { // it is fine until then
			con.created = time.Now().Add(ig.st.Scale(time.Duration(f.Delay) - 24*time.Hour))
		}
	}
	if f, ok := ig.st.Faults.State("container_error", Name, CallCreate, con.account); ok {
		con.failed = errorStatus(f)
	}
	if f, ok := ig.st.Faults.State("container_slow", Name, CallCreate, con.account); ok {
		con.readyAt = time.Now().Add(ig.st.Scale(time.Duration(f.Delay)))
	}
}

// errorStatus is the status of a failed container: a subcode or a text.
func errorStatus(f stage.Fault) string {
	switch {
	case f.Message != "":
		return f.Message
	case f.Subcode != 0:
		return fmt.Sprintf("Error: Media upload has failed with error code %d", f.Subcode)
	default:
		return "Error: Media download has failed. The media URI doesn't meet our requirements."
	}
}

// readContainer is GET /{container-id}.
func readContainer(ig *Instagram, c *call) (any, *apiError) {
	con := ig.containers[c.node]
	if con == nil || con.account != c.account.ID {
		return nil, errUnreadable(c.node)
	}
	code := ig.state(con)
	con.seen = true
	_, statusOnly := ig.st.Faults.State("status_only", Name, CallContainer, con.account)
	out := map[string]any{"id": con.id}
	for field := range fields(c) {
		switch field {
		case "id":
		case "status_code":
			out[field] = code
			if statusOnly {
				out[field] = ""
				out["status"] = statusText(con, code)
			}
		case "status":
			out[field] = statusText(con, code)
		case "video_status":
			out[field] = videoStatus(code)
		case "copyright_check_status":
			out[field] = map[string]any{"status": "completed", "matches_found": false}
		default:
			return nil, errField(field, "ShadowIGMediaBuilder")
		}
	}
	return out, nil
}

func statusText(con *container, code string) string {
	switch code {
	case "ERROR":
		return con.failed
	case "FINISHED":
		return "Finished: Media has been uploaded and it is ready to be published."
	case "PUBLISHED":
		return "Published: Media has been successfully published."
	case "EXPIRED":
		return "Expired: The media was not published within 24 hours."
	default:
		return "In progress: Media is still being processed."
	}
}

func videoStatus(code string) map[string]any {
	phase := map[string]string{"IN_PROGRESS": "in_progress", "ERROR": "error"}[code]
	if phase == "" {
		phase = "complete"
	}
	return map[string]any{
		"uploading_phase":  map[string]any{"status": "complete", "bytes_transferred": 0},
		"processing_phase": map[string]any{"status": phase},
	}
}

// fields are the names in the parameter fields.
func fields(c *call) map[string]bool {
	set := map[string]bool{}
	for f := range strings.SplitSeq(c.params["fields"], ",") {
		if f = strings.TrimSpace(f); f != "" {
			set[f] = true
		}
	}
	return set
}

func errField(field, node string) *apiError {
	return &apiError{Code: 100, Message: fmt.Sprintf("(#100) Tried accessing nonexisting field (%s) on node type (%s)", field, node)}
}

// owns checks that the path names the token's account, by the id that paths use.
func (ig *Instagram) owns(c *call) *apiError {
	switch c.node {
	case "me", c.account.ID:
		return nil
	case c.account.AppID:
		return errUnreadable(c.node) // the app-scoped id is another number and no path
	}
	if _, other := ig.st.Accounts.Get(Name, c.node); other {
		return documented(10, 0)
	}
	return errUnreadable(c.node)
}
