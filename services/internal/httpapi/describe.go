package httpapi

import (
	"cmp"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// Describe documents an answer whose data is a T.
func Describe[T any](a *API, description string) *huma.Response {
	return a.describe(reflect.TypeFor[Envelope[T]](), description)
}

// DescribeBody documents the body of a POST or PATCH whose handler takes it as
// RawBody, after the operation was registered: huma knows such a body as bytes.
func DescribeBody[T any](a *API, path string) {
	doc := a.huma.OpenAPI()
	schema := doc.Components.Schemas.Schema(reflect.TypeFor[T](), true, "")
	item := doc.Paths[path]
	cmp.Or(item.Post, item.Patch).RequestBody.Content["application/json"].Schema = schema
}

func (a *API) describe(t reflect.Type, description string) *huma.Response {
	schema := a.huma.OpenAPI().Components.Schemas.Schema(t, true, "")
	return &huma.Response{Description: description, Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}
}

// describeCodes adds one answer for each status that the codes have.
func (a *API) describeCodes(to map[string]*huma.Response, codes []Code) {
	names := map[string][]string{}
	for _, c := range Codes() { // in their order
		if status := strconv.Itoa(c.Status()); slices.Contains(codes, c) {
			names[status] = append(names[status], string(c))
		}
	}
	for status, n := range names {
		addContent(to, status, a.describe(reflect.TypeFor[Failure](), strings.Join(n, ", ")))
	}
}

// describeBodyLimits adds the answers to a body that is not taken.
func (a *API) describeBodyLimits(to map[string]*huma.Response) {
	for status, description := range map[int]string{
		http.StatusRequestTimeout:        string(CodeTimeout) + ": the body did not arrive in time",
		http.StatusRequestEntityTooLarge: string(CodeValidation) + ": the body is larger than " + strconv.Itoa(MaxBodyBytes) + " bytes",
		http.StatusUnsupportedMediaType:  string(CodeValidation) + ": the body is of another media type, or compressed",
	} {
		addContent(to, strconv.Itoa(status), a.describe(reflect.TypeFor[Failure](), description))
	}
}

// howOften says which calls of an operation tell the limits that count them.
type howOften int

const (
	never     howOften = iota
	sometimes          // those that its handler counts, or that come with a key
	always
)

// describeHeaders adds the header fields of each answer. One is required where
// every answer of that status has it: what is refused before the call was
// counted tells no limit.
func describeHeaders(to map[string]*huma.Response, counted howOften) {
	for status, r := range to {
		h := maps.Clone(r.Headers)
		if h == nil {
			h = map[string]*huma.Param{}
		}
		describe := func(name, description, pattern string, required bool) {
			if h[name] == nil { // an operation may know better
				h[name] = header(description, pattern, required)
			}
		}
		describe("X-Request-Id", "The request's own, or one that was made for it; meta.requestId says the same", `^[-0-9A-Za-z_.:/+=@]{1,128}$`, true)
		code, _ := strconv.Atoi(status)
		switch code {
		case http.StatusUnauthorized:
			describe("WWW-Authenticate", "What kind of key is wanted", "^Bearer ", true)
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			describe("Retry-After", "Seconds to wait before the next try; error.retryAfter says the same", "^[1-9][0-9]*$",
				code == http.StatusTooManyRequests && counted == always)
		}
		if often := min(counted, tells(code)); often != never {
			for name, h := range RateLimitHeaders() {
				describe(name, h.Description, h.Schema.Pattern, often == always)
			}
		}
		described := *r
		described.Headers = h
		to[status] = &described
	}
}

// RateLimitHeaders documents what RateLimit.Tell sets, for answers that always
// tell it.
func RateLimitHeaders() map[string]*huma.Param {
	return map[string]*huma.Param{
		"RateLimit-Policy": header(`The limits that count this call, such as "key";q=600;w=60: q calls in any w seconds`, list(`"[a-z]+";q=[0-9]+;w=[0-9]+`), true),
		"RateLimit":        header(`What is left of each limit, such as "key";r=599;t=6: r calls, and more in t seconds`, list(`"[a-z]+";r=[0-9]+;t=[0-9]+`), true),
	}
}

// list is the pattern of one item, or several with commas between them.
func list(item string) string { return "^" + item + "(, " + item + ")*$" }

// Location documents where an answer leads.
func Location(description string) *huma.Param {
	h := header(description, "", true)
	h.Schema.Format = "uri-reference"
	return h
}

// NoStore documents that nobody may keep an answer. Where only some forms of it
// say so, it is not required.
func NoStore(required bool) *huma.Param {
	h := header("Nobody may keep it", "", required)
	h.Schema.Enum = []any{"no-store"}
	return h
}

// tells says how often answers of a status come after the call was counted.
func tells(status int) howOften {
	switch status {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge:
		return never
	case http.StatusInternalServerError, http.StatusServiceUnavailable:
		return sometimes
	default:
		return always
	}
}

func header(description, pattern string, required bool) *huma.Param {
	return &huma.Param{Description: description, Required: required, Schema: &huma.Schema{Type: huma.TypeString, Pattern: pattern}}
}
