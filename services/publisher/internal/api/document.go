package api

import (
	"maps"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"postbus.dev/services/internal/httpapi"
)

const (
	publishPath   = "/api/{provider}/publish"
	publishPathOf = "/api/publishes/{id}"
)

const about = "Publishes posts to social networks. A post is published exactly once or reported honestly."

// publishBody documents the body of a request; a test holds it to the data of
// publish.requested, which is what reads it.
type publishBody struct {
	_          struct{}       `additionalProperties:"false"`
	MediaType  string         `json:"mediaType" enum:"IMAGE,VIDEO,CAROUSEL,STORY,TEXT,LINK" doc:"What kind of post; a provider takes some of them"`
	MediaURL   string         `json:"mediaUrl,omitempty" format:"uri" doc:"Absolute http(s) URL of the image or video, which the provider fetches"`
	Caption    string         `json:"caption,omitempty"`
	Title      string         `json:"title,omitempty"`
	AltText    string         `json:"altText,omitempty" doc:"Describes the media for those who cannot see it"`
	CoverURL   string         `json:"coverUrl,omitempty" format:"uri" doc:"Absolute http(s) URL of a video's cover"`
	LocationID string         `json:"locationId,omitempty" doc:"The provider's id of a place"`
	Children   []publishChild `json:"children,omitempty" nullable:"false" doc:"The items of a CAROUSEL"`
	LinkURL    string         `json:"linkUrl,omitempty" format:"uri" doc:"What a LINK leads to"`
	AccountID  string         `json:"accountId,omitempty" format:"uuid" doc:"The connected account. Without it: the user's only account at the provider"`
	Provider   string         `json:"provider,omitempty" doc:"As in the path, or left out"`
	UserID     string         `json:"userId,omitempty" doc:"Your own id of the user. Without it: the user of the API key. Another one needs the scope on_behalf"`
	PublishAt  string         `json:"publishAt,omitempty" format:"date-time" doc:"RFC 3339 with an offset. Without it: now"`
	ExpiresAt  string         `json:"expiresAt,omitempty" format:"date-time" doc:"RFC 3339 with an offset. What has not been sent by then fails. Without it: a day after it was due"`
	Options    Object         `json:"options,omitempty" doc:"An object that the provider's connector defines"`
}

type publishChild struct {
	_         struct{} `additionalProperties:"false"`
	MediaType string   `json:"mediaType" enum:"IMAGE,VIDEO"`
	MediaURL  string   `json:"mediaUrl" format:"uri"`
	AltText   string   `json:"altText,omitempty"`
}

// register adds the operations.
func (a *API) register() {
	httpapi.Register(a.http, a.publishOperation(), publishCodes(), a.publish)
	httpapi.DescribeBody[publishBody](a.http, publishPath)
	httpapi.Register(a.http, huma.Operation{
		OperationID: "list-publishes", Method: http.MethodGet, Path: "/api/publishes", Summary: "List publishes",
		Description: "Those of a user's accounts, the newest first by acceptance.",
	}, []httpapi.Code{httpapi.CodeMissingScope, httpapi.CodeNotFound}, a.list)
	httpapi.Register(a.http, huma.Operation{
		OperationID: "get-publish", Method: http.MethodGet, Path: publishPathOf, Summary: "Look at a publish",
		Description: "For who asked for it, and for the user whose account it is for.",
	}, []httpapi.Code{httpapi.CodeMissingScope, httpapi.CodeNotFound}, a.get)
	httpapi.Register(a.http, huma.Operation{
		OperationID: "reschedule-publish", Method: http.MethodPatch, Path: publishPathOf, Summary: "Change when a publish is due",
		Description: "Possible until it is sent to be published; afterwards the answer is CONFLICT. It is told by another publish.scheduled. " +
			"An expiresAt of the request stays; without one it is a day after the new time.",
	}, changeCodes(), a.reschedule)
	httpapi.DescribeBody[rescheduleBody](a.http, publishPathOf)
	httpapi.Register(a.http, huma.Operation{
		OperationID: "cancel-publish", Method: http.MethodPost, Path: publishPathOf + "/cancel", Summary: "Cancel a publish",
		Description: "Possible until it is sent to be published; afterwards the answer is CONFLICT. Canceling twice is no error.",
	}, changeCodes(), a.cancel)
	httpapi.Register(a.http, huma.Operation{
		OperationID: "resolve-publish", Method: http.MethodPost, Path: publishPathOf + "/resolve", Summary: "Decide what became of an unconfirmed publish",
		Description: "For a person who has looked, with a key of scope admin. It is told by publish.completed or publish.failed. " +
			"A publish in another state, and a post that another publish has, are answered CONFLICT.",
	}, changeCodes(), a.resolve)
	httpapi.DescribeBody[resolveBody](a.http, publishPathOf+"/resolve")
	a.registerStream()
}

func changeCodes() []httpapi.Code {
	return []httpapi.Code{httpapi.CodeMissingScope, httpapi.CodeNotFound, httpapi.CodeConflict}
}

func (a *API) publishOperation() huma.Operation {
	return huma.Operation{
		OperationID: "publish", Method: http.MethodPost, Path: publishPath, Summary: "Publish a post",
		Description: "Waits for the outcome as long as Prefer says. 200: the post is live. 202: not yet, or nobody knows; Location leads to it. " +
			"Everything else: it is not live, and will not be under this Idempotency-Key. Send the same key again after a lost answer. " +
			"A key that comes with another body is answered 422 VALIDATION_ERROR. " +
			"RateLimit fields tell what is left of the requests that a user has.",
		Metadata: map[string]any{httpapi.CountsItself: true},
		Responses: map[string]*huma.Response{
			"200": answered(httpapi.Describe[Post](a.http, "The post is live"), appliedHeader()),
			"202": answered(httpapi.Describe[Pending](a.http, "No outcome yet, or one that nobody knows"), appliedHeader(), map[string]*huma.Param{
				"Location": httpapi.Location("Where to look at the publish"),
			}),
			"422": {Description: "VALIDATION_ERROR: the Idempotency-Key came with another body before"},
			"429": answered(&huma.Response{Description: "The request is over the limit, or the provider's limits were the end of it"}),
		},
	}
}

// answered adds the header fields of an answer that comes after the request was
// counted.
func answered(r *huma.Response, more ...map[string]*huma.Param) *huma.Response {
	r.Headers = httpapi.RateLimitHeaders()
	for _, h := range more {
		maps.Copy(r.Headers, h)
	}
	return r
}

func appliedHeader() map[string]*huma.Param {
	return map[string]*huma.Param{"Preference-Applied": {Description: "What Prefer came to, where it said something", Schema: &huma.Schema{Type: huma.TypeString}}}
}

func publishCodes() []httpapi.Code {
	return []httpapi.Code{
		httpapi.CodeMissingScope, httpapi.CodeNotFound, httpapi.CodeAccountNotConnected,
		httpapi.CodeConflict, httpapi.CodeReauthRequired, httpapi.CodeAccountRestricted, httpapi.CodeCanceled, httpapi.CodeExpired,
		httpapi.CodeMediaRejected, httpapi.CodeMediaUnreachable, httpapi.CodeContentRejected,
		httpapi.CodeRateLimitExceeded, httpapi.CodeProviderRateLimited, httpapi.CodeQuotaExhausted,
		httpapi.CodeProviderUnavailable, httpapi.CodeTimeout,
	}
}

// Document returns the OpenAPI document of this API. It is the same bytes that
// GET /openapi.json means, indented.
func Document() ([]byte, error) {
	a, err := build(Config{Keys: httpapi.Nobody{}, Budgets: httpapi.Nobody{}})
	if err != nil {
		return nil, err
	}
	return a.http.Document()
}
