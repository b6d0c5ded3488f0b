package contract

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// document is a small one, with something of everything.
const document = `{"openapi":"3.1.0","paths":{
	"/things":{"post":{"operationId":"make-thing","security":[{"bearer":[]}],
		"parameters":[{"name":"limit","in":"query","schema":{"type":"integer","minimum":1,"maximum":9}}],
		"requestBody":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Thing"}}}},
		"responses":{
			"201":{"description":"Made","headers":{"Location":{"required":true,"schema":{"type":"string","format":"uri-reference"}}},
				"content":{"application/json":{"schema":{"type":"object","required":["success","data","meta"],"properties":{"data":{"$ref":"#/components/schemas/Thing"}}}}}},
			"204":{"description":"Nothing to say"},
			"415":{"description":"VALIDATION_ERROR"},
			"429":{"description":"RATE_LIMIT_EXCEEDED","headers":{"Retry-After":{"schema":{"type":"string","pattern":"^[1-9][0-9]*$"}}},"content":{"application/json":{}}}}}},
	"/things/{id}":{"get":{"operationId":"get-thing","security":[{"bearer":[]},{}],
		"parameters":[{"name":"id","in":"path","required":true,"schema":{"type":"string","format":"uuid"}}],
		"responses":{"200":{"description":"It","content":{"text/html":{"schema":{"type":"string"}}}}}}},
	"/things/mine":{"get":{"operationId":"get-mine","responses":{"200":{"description":"Mine"}}}}},
	"components":{"schemas":{"Thing":{"type":"object","additionalProperties":false,"required":["name"],"properties":{
		"name":{"type":"string","minLength":1,"maxLength":5},"kinds":{"type":"array","minItems":1,"items":{"type":"string","enum":["a","b"]}},
		"made":{"type":"string","format":"date-time"},"of":{"type":"string","format":"uuid"},"n":{"type":"integer","minimum":1,"maximum":9},
		"word":{"type":"string","pattern":"^[!-~]+$"},"more":{"type":"object"}}}}}}`

func read(t *testing.T, raw string) *Document {
	t.Helper()
	d, err := Read([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAnOperationIsFoundByItsPath(t *testing.T) {
	t.Parallel()
	d := read(t, document)
	for call, id := range map[string]string{
		"POST /things": "make-thing", "GET /things/x": "get-thing", "GET /things/mine": "get-mine",
		"GET /things": "", "GET /things/": "", "GET /things/x/y": "", "PUT /things": "", "HEAD /things/x": "",
	} {
		method, path, _ := strings.Cut(call, " ")
		if o := d.Find(method, path); o == nil && id != "" || o != nil && o.ID != id {
			t.Errorf("%s is %+v", call, o)
		}
	}
}

const (
	meta = `"meta":{"requestId":"r1","traceId":"0123456789abcdef0123456789abcdef"}`
	made = `{"success":true,"data":{"name":"x"},` + meta + `}`
	over = `{"success":false,"error":{"code":"RATE_LIMIT_EXCEEDED","retryAfter":7},` + meta + `}`
)

func TestWhatTheDocumentDoesNotSayOfAnAnswerIsNamed(t *testing.T) {
	t.Parallel()
	d := read(t, document)
	for name, c := range map[string]struct {
		status int
		change func(http.Header)
		body   string
		fault  string // "": none
	}{
		"as documented":               {201, nil, made, ""},
		"no content":                  {204, nil, "", ""},
		"too many":                    {429, set("Retry-After", "7"), over, ""},
		"another status":              {200, nil, made, "status 200"},
		"content where there is none": {204, nil, made, "there is a body"},
		"another media type":          {201, set("Content-Type", "text/html"), made, "text/html"},
		"no media type":               {201, set("Content-Type", ""), made, "media type"},
		"not JSON":                    {201, nil, made[1:], "not JSON"},
		"a member is missing":         {201, nil, strings.Replace(made, `"data"`, `"date"`, 1), "data"},
		"a member of another type":    {201, nil, strings.Replace(made, `"x"`, `5`, 1), "string"},
		"too long":                    {201, nil, strings.Replace(made, `"x"`, `"xxxxxx"`, 1), "maxLength"},
		"no Location":                 {201, set("Location", ""), made, "Location is missing"},
		"a Location that is none":     {201, set("Location", "http://a b"), made, "Location"},
		"a field of another status":   {201, set("Retry-After", "7"), made, "Retry-After is not documented"},
		"a field of another form":     {429, set("Retry-After", "soon"), over, "pattern"},
		"two times to wait":           {429, set("Retry-After", "8"), over, "error.retryAfter 7"},
		"a time told once":            {429, nil, over, "error.retryAfter 7"},
		"success of a failure":        {429, set("Retry-After", "7"), strings.Replace(over, "false", "true", 1), "success is true"},
		"a code of another status":    {429, set("Retry-After", "7"), strings.Replace(over, "RATE_LIMIT_EXCEEDED", "NOT_FOUND", 1), "NOT_FOUND is not documented"},
		"another request id":          {201, set("X-Request-Id", "r2"), made, "requestId"},
		"no trace":                    {201, nil, strings.Replace(made, "0123456789abcdef", "", 2), "traceId"},
	} {
		h := http.Header{"Content-Type": {"application/json"}, "X-Request-Id": {"r1"}}
		if c.status == 201 {
			h.Set("Location", "/things/x")
		}
		if c.change != nil {
			c.change(h)
		}
		faults := d.Check(Exchange{Method: "POST", URL: &url.URL{Path: "/things"}, Status: c.status, Header: h, Body: []byte(c.body)})
		if c.fault == "" && len(faults) > 0 || c.fault != "" && (len(faults) == 0 || !strings.Contains(strings.Join(faults, "\n"), c.fault)) {
			t.Errorf("%s: %q", name, faults)
		}
	}
}

func set(name, value string) func(http.Header) {
	return func(h http.Header) {
		if h.Set(name, value); value == "" {
			h.Del(name)
		}
	}
}

func TestACallOfNoOperationIsNotJudged(t *testing.T) {
	t.Parallel()
	x := Exchange{Method: "GET", URL: &url.URL{Path: "/elsewhere"}, Status: 418}
	if faults := read(t, document).Check(x); len(faults) > 0 {
		t.Error(faults)
	}
}

func TestEveryWayToBreakTheDocumentIsMadeOnce(t *testing.T) {
	t.Parallel()
	good := Call{Operation: read(t, document).Operation("make-thing"), Key: "pb_k", Body: `{"name":"x"}`}
	var names []string
	for _, r := range Refusals(good) {
		if slices.Contains(names, r.Name) {
			t.Errorf("%s is there twice", r.Name)
		}
		names = append(names, r.Name)
		if r.Call.Body == good.Body && r.Call.Key == good.Key && len(r.Call.Query) == 0 && len(r.Call.Header) == 0 {
			t.Errorf("%s is the good call", r.Name)
		}
	}
	for _, want := range []string{
		"no key", "a key that nobody has", "limit in the query: too small", "limit in the query: too large", "limit in the query: a word",
		"a body: nothing", "a body: not JSON", "a body: surprise: unknown", "a body: name: empty", "a body: name: too long", "a body: name: null",
		"a body: name: of another type", "a body: name is missing", "a body: kinds: no items", "a body: kinds: an item that is none of those that there are",
		"a body of another media type", "a compressed body", "a body over the limit",
	} {
		if !slices.Contains(names, want) {
			t.Errorf("%q is not among them", want)
		}
	}
}

func TestAPathIsAskedForWhatIsNotThereAndWhatCannotBe(t *testing.T) {
	t.Parallel()
	good := Call{Operation: read(t, document).Operation("get-thing"), Path: map[string]string{"id": "01890000-0000-7000-8000-00000000000a"}}
	status := map[string][]int{}
	for _, r := range Refusals(good) {
		status[r.Name] = r.Status
	}
	if !slices.Contains(status["id in the path: of nothing"], 404) || !slices.Contains(status["id in the path: of another form"], 400) {
		t.Errorf("%v", status)
	}
	for _, name := range []string{"no key", "a body over the limit"} {
		if _, ok := status[name]; ok {
			t.Errorf("%s is a refusal where no key is needed, or no body is read", name)
		}
	}
}

// What a body is made to break, it has to break as the library sees it too.
func TestABrokenBodyBreaksItsSchema(t *testing.T) {
	t.Parallel()
	c, err := newCompiler([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(location + "#/components/schemas/Thing")
	if err != nil {
		t.Fatal(err)
	}
	good := Call{Operation: read(t, document).Operation("make-thing"), Body: `{"name":"x"}`}
	broken := 0
	for _, r := range append([]Refusal{{Name: "good", Call: good}}, bodies(good)...) {
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(r.Call.Body))
		if err != nil || strings.HasSuffix(r.Name, "U+0000") || strings.HasSuffix(r.Name, "not UTF-8") { // no schema knows of that
			continue
		}
		if err := schema.Validate(value); (err == nil) != (r.Name == "good") {
			t.Errorf("%s: %s is valid: %v", r.Name, r.Call.Body, err == nil)
		}
		broken++
	}
	if broken < 20 {
		t.Errorf("only %d bodies", broken)
	}
}
