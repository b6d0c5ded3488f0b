package instagram

import (
	"cmp"
	"math"
	"net/http"
	"time"

	"postbus.dev/services/connectors/sandbox/stage"
)

// Switches are the faults that only Instagram has.
func (ig *Instagram) Switches() []stage.Switch {
	return append(ig.answers(), states()...)
}

// answers are the switches that put an error in place of the answer.
func (ig *Instagram) answers() []stage.Switch {
	reads := []string{CallContainer, CallMedia, CallList, CallStories}
	all := map[string]string{
		"code": "error code", "subcode": "error_subcode", "status": "HTTP status, default 400", "transient": "is_transient",
		"message": "message", "after": "true: the call is carried out all the same",
	}
	sub := map[string]string{"subcode": "error_subcode", "status": "HTTP status, default 400"}
	list := []struct {
		name, about   string
		calls         []string
		params        map[string]string
		code, subcode int
		after         bool
	}{
		{name: "error", about: "any error of the Graph API, by code and subcode", params: all},
		{name: "action_blocked_after", about: "4/2207051 (anti-spam block) though the post was made", calls: []string{CallPublish}, code: 4, subcode: 2207051, after: true},
		{name: "action_blocked_before", about: "4/2207051 (anti-spam block), and no post", calls: []string{CallPublish}, code: 4, subcode: 2207051},
		{name: "not_ready", about: "9007/2207027: the container is not ready, whatever a read says", calls: []string{CallPublish}, code: 9007, subcode: 2207027},
		{name: "creation_id_unknown", about: "24/2207008: the container is unknown or expired", calls: []string{CallPublish}, code: 24, subcode: 2207008},
		{name: "quota_exceeded", about: "9/2207042: the publishing quota of the rolling day is used", calls: []string{CallPublish}, code: 9, subcode: 2207042},
		{name: "restricted", about: "25/2207050: the account is restricted", calls: []string{CallCreate, CallPublish}, code: 25, subcode: 2207050},
		{name: "policy_block", about: "368: temporarily blocked for policy", calls: []string{CallPublish}, code: 368},
		{name: "no_permission", about: "10: a permission is missing", code: 10},
		{name: "token_dead", about: "190 with a subcode: 0 expired, 458 removed, 459 checkpoint, 460 password, 463 expired, 464 unconfirmed, 467 invalid", params: sub, code: 190},
		{name: "rate_limited", about: "80002 with the usage header: too many calls to this account", code: 80002,
			params: map[string]string{"delay": "until access is regained, as the header says it, default 19m"}},
		{name: "app_limited", about: "4: application request limit reached; no header says until when", code: 4},
		{name: "app_refused", about: "101: our app is unknown or disabled", code: 101},
		{name: "refresh_early", about: "100: the token is too young to be refreshed, whatever its age", calls: []string{CallRefresh}, code: 100},
		{name: "read_100_33", about: "100/33: reads fail though the object is there", calls: reads, code: 100, subcode: 33},
		{name: "transient_before", about: "2, is_transient, HTTP 500; nothing is carried out", code: 2},
		{name: "transient_after", about: "2, is_transient, HTTP 500, though the call was carried out", code: 2, after: true},
	}
	switches := make([]stage.Switch, len(list))
	for i, d := range list {
		preset := stage.Fault{Code: d.code, Subcode: d.subcode, After: d.after}
		switches[i] = stage.Switch{
			Name: d.name, Provider: Name, About: d.about, Calls: d.calls, Params: d.params,
			Plan: func(f stage.Fault, a stage.Act) stage.Plan { return ig.refuse(f, preset, a.Account) },
		}
	}
	return switches
}

// states are the switches that change what the stand-in keeps or shows.
func states() []stage.Switch {
	lists := []string{CallList, CallStories}
	media := append([]string{CallMedia}, lists...)
	delay := map[string]string{"delay": "provider time, such as 30s"}
	callbacks := []string{CallDeauthorize, CallDeletion}
	return []stage.Switch{
		{Name: "callback_forged", Provider: Name, Calls: callbacks, About: "a call to the app is signed with another secret"},
		{Name: "callback_altered", Provider: Name, Calls: callbacks, About: "a call to the app names another person than was signed"},
		{Name: "callback_algorithm", Provider: Name, Calls: callbacks, About: "a call to the app says that its algorithm is none"},
		{Name: "callback_old", Provider: Name, Calls: callbacks, About: "a call to the app was issued long ago",
			Params: map[string]string{"delay": "how long ago, real time"}},
		{Name: "callback_twice", Provider: Name, Calls: callbacks, About: "a call to the app is made twice, byte for byte"},
		{Name: "container_error", Provider: Name, Calls: []string{CallCreate}, About: "the container ends in ERROR",
			Params: map[string]string{"subcode": "named in status", "message": "status as a whole"}},
		{Name: "container_expired", Provider: Name, Calls: []string{CallCreate}, About: "the container is EXPIRED, at once or after the delay", Params: delay},
		{Name: "container_stuck", Provider: Name, Calls: []string{CallCreate}, About: "the container stays IN_PROGRESS"},
		{Name: "container_slow", Provider: Name, Calls: []string{CallCreate}, About: "the container is ready after the delay", Params: delay},
		{Name: "status_only", Provider: Name, Calls: []string{CallContainer}, About: "status_code is empty, status tells it in words"},
		{Name: "quota_full", Provider: Name, Calls: []string{CallLimit}, About: "content_publishing_limit says that the quota is used up"},
		{Name: "earlier_id", Provider: Name, Calls: []string{CallPublish}, About: "the post is made, the answer names the account's post before it"},
		{Name: "list_lag", Provider: Name, Calls: []string{CallPublish}, About: "the post comes into the lists after the delay", Params: delay},
		{Name: "list_empty", Provider: Name, Calls: lists, About: "lists are empty"},
		{Name: "fields_refused", Provider: Name, Calls: media, About: "error 100 on reads that ask for caption or media_product_type"},
		{Name: "fields_absent", Provider: Name, Calls: media, About: "caption and media_product_type are left out"},
		{Name: "caption_rewritten", Provider: Name, Calls: media, About: "captions come back with other white space"},
		{Name: "caption_without_at", Provider: Name, Calls: media, About: "captions come back without @"},
	}
}

// refuse is the plan of an error: what the fault names wins over the preset.
func (ig *Instagram) refuse(f, preset stage.Fault, account string) stage.Plan {
	if f.Code != 0 {
		preset.Code, preset.Subcode = f.Code, f.Subcode
	}
	preset.Code = cmp.Or(preset.Code, 1)
	if f.Subcode != 0 {
		preset.Subcode = f.Subcode
	}
	e := documented(preset.Code, preset.Subcode)
	e.Status = f.Status
	if e.Transient && e.Code == 2 && f.Status == 0 {
		e.Status = http.StatusInternalServerError
	}
	if f.Transient != nil {
		e.Transient = *f.Transient
	}
	if f.Message != "" {
		e.Message = f.Message
	}
	if e.Regain > 0 && f.Delay > 0 {
		e.Regain = int(math.Ceil(time.Duration(f.Delay).Minutes()))
	}
	answer := ig.fail(&call{account: stage.Account{ID: account}}, e)
	return stage.Plan{Skip: !f.After && !preset.After, Answer: &answer}
}
