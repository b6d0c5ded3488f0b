package instagram

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"postbus.dev/services/connectors/sandbox/stage"
)

// apiError is an error of the Graph API.
type apiError struct {
	Status    int // default 400
	Type      string
	Code      int
	Subcode   int
	Transient bool
	Message   string
	Title     string
	User      string
	Regain    int  // minutes, in the account's usage header
	App       bool // the app's usage header is at its limit
	OAuth     bool // the envelope of api.instagram.com instead of Graph's
}

// key is the code and subcode as people write them.
func (e *apiError) key() string {
	if e.Subcode == 0 {
		return fmt.Sprint(e.Code)
	}
	return fmt.Sprintf("%d/%d", e.Code, e.Subcode)
}

type errorBody struct {
	Message   string `json:"message"`
	Type      string `json:"type"`
	Code      int    `json:"code"`
	Subcode   *int   `json:"error_subcode,omitempty"`
	Transient bool   `json:"is_transient"`
	Title     string `json:"error_user_title,omitempty"`
	User      string `json:"error_user_msg,omitempty"`
	Trace     string `json:"fbtrace_id"`
}

// fail writes an error as the provider does.
func (ig *Instagram) fail(c *call, e *apiError) stage.Answer {
	trace := ig.trace()
	var out any
	if e.OAuth {
		out = map[string]any{"error_type": cmp.Or(e.Type, "OAuthException"), "code": cmp.Or(e.Status, 400), "error_message": e.Message}
	} else {
		body := errorBody{
			Message: e.Message, Type: cmp.Or(e.Type, "OAuthException"), Code: e.Code,
			Transient: e.Transient, Title: e.Title, User: e.User, Trace: trace,
		}
		if body.User != "" && ig.alternate() {
			body.Title, body.User = "Fehler", "Die Anfrage konnte nicht bearbeitet werden." // it is localized
		}
		if e.Subcode != 0 || e.Code == 190 {
			body.Subcode = &e.Subcode
		}
		out = map[string]any{"error": body}
	}
	b, err := json.Marshal(out)
	if err != nil {
		return stage.Answer{Status: http.StatusInternalServerError}
	}
	h := ig.headers(c, trace)
	if e.Regain > 0 {
		h.Set("X-Business-Use-Case-Usage", usage(c.account.ID, 100, e.Regain))
	}
	if e.App {
		h.Set("X-App-Usage", `{"call_count":100,"total_time":25,"total_cputime":25}`)
	}
	return stage.Answer{Status: cmp.Or(e.Status, http.StatusBadRequest), Header: h, Body: b, Code: e.key()}
}

// trace makes an fbtrace_id.
func (ig *Instagram) trace() string {
	b := make([]byte, 16)
	binary.LittleEndian.PutUint64(b, ig.st.Uint64())
	binary.LittleEndian.PutUint64(b[8:], ig.st.Uint64())
	return "A" + base64.RawURLEncoding.EncodeToString(b)
}

func (ig *Instagram) headers(c *call, trace string) http.Header {
	h := http.Header{
		"Content-Type":         {"application/json; charset=UTF-8"},
		"X-Fb-Trace-Id":        {trace},
		"X-Fb-Request-Id":      {trace},
		"Facebook-Api-Version": {cmp.Or(c.version, "v25.0")},
		"X-App-Usage":          {`{"call_count":1,"total_time":1,"total_cputime":1}`},
	}
	if c.account.ID != "" {
		h.Set("X-Business-Use-Case-Usage", usage(c.account.ID, 1, 0))
	}
	return h
}

// usage is the value of X-Business-Use-Case-Usage: percent, and minutes.
func usage(account string, percent, regain int) string {
	return fmt.Sprintf(`{"%s":[{"type":"instagram","call_count":%d,"total_cputime":%d,"total_time":%d,"estimated_time_to_regain_access":%d}]}`,
		account, percent, min(percent, 25), min(percent, 25), regain)
}

// text is what the documentation says to a code.
type text struct {
	message, title, user string
	transient            bool
	regain               int  // minutes, in the usage header
	app                  bool // the app's usage is at its limit
}

// known errors, by code/subcode; a code alone stands for its other subcodes.
func texts(key string) (text, bool) {
	t, ok := map[string]text{
		"-1/2207001":    {message: "Instagram server error. Try again.", transient: true},
		"-1/2207032":    {message: "Create media fail, please try to re-create media", title: "Media creation failed"},
		"-1/2207053":    {message: "unknown upload error", title: "Upload failed"},
		"-2/2207003":    {message: "It takes too long to download the media.", title: "Timeout"},
		"-2/2207020":    {message: "The media you are trying to access has expired. Please try to upload again.", title: "Media expired"},
		"1":             {message: "An unknown error has occurred.", transient: true},
		"1/2207057":     {message: "Thumbnail offset must be greater than or equal to 0 and less than video duration", title: "Thumbnail offset invalid"},
		"2":             {message: "An unexpected error has occurred. Please retry your request later.", transient: true},
		"3":             {message: "(#3) Application does not have the capability to make this API call."},
		"4":             {message: "(#4) Application request limit reached", app: true},
		"4/2207051":     {message: "Application request limit reached", title: "Action is blocked", user: "We restrict certain activity to protect our community. Tell us if you think we made a mistake."},
		"9/2207042":     {message: "The user has reached the maximum number of posts", title: "Maximum number of posts reached", user: "You reached maximum number of posts that is allowed to be published by Content Publishing API."},
		"10":            {message: "(#10) Application does not have permission for this action"},
		"17":            {message: "(#17) User request limit reached", app: true},
		"24/2207006":    {message: "The requested resource does not exist", title: "Media not found", user: "The media cannot be found."},
		"24/2207008":    {message: "The requested resource does not exist", title: "Media Builder Not Found", user: "The media builder does not exist or has been expired."},
		"25/2207050":    {message: "The Instagram account is restricted.", title: "Account restricted"},
		"32":            {message: "(#32) Page request limit reached", app: true},
		"100":           {message: "(#100) Invalid parameter"},
		"100/33":        {message: "Unsupported get request. Object does not exist, cannot be loaded due to missing permissions, or does not support this operation"},
		"100/2207023":   {message: "The media type is unknown.", title: "Unknown media type"},
		"100/2207028":   {message: "Your post won't work as a carousel. Carousels need at least 2 photos/videos and no more than 10 photos/videos.", title: "Carousel size"},
		"100/2207040":   {message: "Cannot use more than the maximum of tags per created media.", title: "Too many tags"},
		"101":           {message: "Error validating application. Cannot get application info due to a system error."},
		"102":           {message: "Session key invalid or no longer valid"},
		"190":           {message: "Error validating access token: Session has expired on Monday, 01-Dec-25 11:00:00 PST."},
		"190/458":       {message: "Error validating access token: The user has not authorized application 123."},
		"190/459":       {message: "Error validating access token: You cannot access the app till you log in to www.instagram.com and follow the instructions given."},
		"190/460":       {message: "Error validating access token: The session has been invalidated because the user changed their password or Facebook has changed the session for security reasons."},
		"190/463":       {message: "Error validating access token: Session has expired on Monday, 01-Dec-25 11:00:00 PST."},
		"190/464":       {message: "Error validating access token: Sessions for the user are not allowed because the user is not a confirmed user."},
		"190/467":       {message: "Error validating access token: The session is invalid because the user logged out."},
		"190/492":       {message: "Error validating access token: The user does not have a role on the Page."},
		"200":           {message: "(#200) Permissions error"},
		"352/2207026":   {message: "The video format is not supported. Please check spec for supported video format", title: "Unsupported video format"},
		"368":           {message: "The action attempted has been deemed abusive or is otherwise disallowed", title: "Temporarily blocked"},
		"463":           {message: "The session has expired."},
		"467":           {message: "The access token is invalid."},
		"506":           {message: "Duplicate status message", title: "Duplicate post"},
		"613":           {message: "(#613) Calls to this api have exceeded the rate limit.", app: true},
		"9004/2207052":  {message: "Only photo or video can be accepted as media type.", title: "Media download has failed", user: "The media could not be fetched from this URI."},
		"9007/2207027":  {message: "Media ID is not available", title: "Media is not ready", user: "The media is not ready for publishing, please wait for a moment"},
		"36000/2207004": {message: "The image is too large to download.", title: "Image too large"},
		"36001/2207005": {message: "The image format is not supported.", title: "Unsupported image format"},
		"36003/2207009": {message: "The submitted image with aspect ratio cannot be published.", title: "Aspect ratio not supported"},
		"36004/2207010": {message: "The caption was too long.", title: "Caption too long"},
		"80002":         {message: "(#80002) There have been too many calls to this Instagram account. Wait a bit and try again.", regain: 19},
	}[key]
	return t, ok
}

// documented makes an error of the documentation.
func documented(code, subcode int) *apiError {
	e := &apiError{Code: code, Subcode: subcode}
	t, ok := texts(e.key())
	if !ok {
		t, ok = texts(fmt.Sprint(code))
	}
	if !ok {
		t = text{message: fmt.Sprintf("(#%d) Error", code)}
	}
	e.Message, e.Title, e.User, e.Transient = t.message, t.title, t.user, t.transient
	e.Regain, e.App = t.regain, t.app
	return e
}

func errParam(format string, args ...any) *apiError {
	return &apiError{Code: 100, Message: "(#100) " + fmt.Sprintf(format, args...)}
}

func errUnreadable(id string) *apiError {
	e := documented(100, 33)
	e.Type = "GraphMethodException"
	e.Message = strings.Replace(e.Message, "Object", fmt.Sprintf("Object with ID '%s'", id), 1)
	return e
}

func errUnsupported(method, path string) *apiError {
	return &apiError{Code: 100, Type: "IGApiException", Message: fmt.Sprintf("Unsupported request - method type: %s, path: %s", strings.ToLower(method), path)}
}
