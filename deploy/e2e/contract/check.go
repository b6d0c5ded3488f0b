package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Exchange is a request and what was answered.
type Exchange struct {
	Method      string
	URL         *url.URL
	Asked       http.Header
	AskedBody   []byte
	Status      int
	Header      http.Header
	Body        []byte
	Interrupted bool // the answer did not come to its end
}

func (x Exchange) String() string {
	return fmt.Sprintf("%s %.120s: %d %.300s", x.Method, x.URL.EscapedPath(), x.Status, x.Body)
}

// JSON reads the body of an answer into v.
func (x Exchange) JSON(v any) error { return json.Unmarshal(x.Body, v) }

// Check returns what the document does not say of an answer: its status, its
// media type, its body, its header fields. It says nothing of a request that is
// of no operation.
func (d *Document) Check(x Exchange) (faults []string) {
	o := d.Find(x.Method, x.URL.EscapedPath())
	if o == nil {
		return nil
	}
	r, ok := o.responses[strconv.Itoa(x.Status)]
	if !ok {
		return []string{fmt.Sprintf("status %d is not among %v", x.Status, o.Statuses())}
	}
	return append(d.checkFields(r, x), r.checkBody(x)...)
}

// checkFields: what must be there is, what is there is as documented, and no
// field that the API has a meaning for comes where it is not documented.
func (d *Document) checkFields(r *response, x Exchange) (faults []string) {
	for name, f := range r.headers {
		values := x.Header.Values(name)
		switch {
		case len(values) == 0 && f.required:
			faults = append(faults, "the header field "+name+" is missing")
		case len(values) > 0:
			if err := f.schema.Validate(strings.Join(values, ", ")); err != nil {
				faults = append(faults, fmt.Sprintf("the header field %s: %v", name, cause(err)))
			}
		}
	}
	for _, name := range d.fields {
		if _, documented := r.headers[name]; !documented && len(x.Header.Values(name)) > 0 {
			faults = append(faults, "the header field "+name+" is not documented")
		}
	}
	return faults
}

func (r *response) checkBody(x Exchange) []string {
	written := x.Header.Get("Content-Type")
	media, _, err := mime.ParseMediaType(written)
	schema, documented := r.content[media]
	switch {
	case len(r.content) == 0 && len(x.Body) > 0:
		return []string{"there is a body, which is not documented"}
	case len(r.content) == 0:
		return nil
	case err != nil || !documented:
		return []string{fmt.Sprintf("the media type %q is not documented", written)}
	case media != "application/json":
		if len(x.Body) == 0 {
			return []string{"there is no body"}
		}
		return nil
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(x.Body))
	if err != nil {
		return []string{"the body is not JSON"}
	}
	var faults []string
	if schema != nil {
		if err := schema.Validate(value); err != nil {
			faults = append(faults, fmt.Sprintf("the body: %v", cause(err)))
		}
	}
	return append(faults, r.checkEnvelope(x)...)
}

// checkEnvelope looks at what two places of an answer have to say alike, and at
// what a schema cannot know. What answers a provider is no envelope.
func (r *response) checkEnvelope(x Exchange) (faults []string) {
	var e struct {
		Success *bool
		Error   struct {
			Code       string
			RetryAfter int64
		}
		Meta struct{ RequestID, TraceID string }
	}
	if err := x.JSON(&e); err != nil || e.Success == nil {
		return nil // the schema has judged it
	}
	fault := func(is bool, format string, args ...any) {
		if is {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	fault(*e.Success != (x.Status < http.StatusBadRequest), "success is %v", *e.Success)
	fault(e.Meta.RequestID != x.Header.Get("X-Request-Id"), "meta.requestId is %q and X-Request-Id %q", e.Meta.RequestID, x.Header.Get("X-Request-Id"))
	fault(!regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(e.Meta.TraceID), "meta.traceId is %q", e.Meta.TraceID)
	if *e.Success {
		return faults
	}
	named := regexp.MustCompile(`[A-Z]+(_[A-Z]+)*`).FindAllString(r.description, -1)
	fault(!slices.Contains(named, e.Error.Code), "the code %s is not documented for this status: %s", e.Error.Code, r.description)
	told := x.Header.Get("Retry-After")
	fault(told != "" && told != strconv.FormatInt(e.Error.RetryAfter, 10) || told == "" && e.Error.RetryAfter != 0,
		"Retry-After is %q and error.retryAfter %d", told, e.Error.RetryAfter)
	return faults
}

// cause leaves out where the schema stands.
func cause(err error) string {
	_, what, _ := strings.Cut(err.Error(), "\n")
	return strings.TrimSpace(what)
}
