package job

import (
	"encoding/json"
	"slices"
)

// blank takes out of a transition what the database function publishes_blank
// took out of the row: an answer that comes after its account was deleted may
// say how the publish ended, and nothing of what it was. Its event, which ages
// out, tells all.
func (t *Transition) blank() {
	p := &t.Publish
	p.Checkpoint = nil
	if p.Result != nil {
		p.Result = only(p.Result, map[string]any{"permalink": nil, "caption": ""}, "postId", "timestamp")
	}
	if p.Error != nil {
		p.Error = only(p.Error, map[string]any{"message": "deleted with the account"}, "code", "providerCode", "providerRequestId")
	}
	t.Steps = slices.Clone(t.Steps)
	for i := range t.Steps {
		t.Steps[i].Message = ""
	}
}

// only is an object with the named fields of another one, and fixed ones.
func only(object json.RawMessage, fixed map[string]any, names ...string) json.RawMessage {
	var all map[string]json.RawMessage
	_ = json.Unmarshal(object, &all) // what is no object has no fields
	for _, name := range names {
		if v, ok := all[name]; ok {
			fixed[name] = v
		}
	}
	out, err := json.Marshal(fixed)
	if err != nil {
		panic(err) // it was read from JSON, or is fixed
	}
	return out
}
