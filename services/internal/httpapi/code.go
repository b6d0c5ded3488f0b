package httpapi

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// Code says what went wrong, for programs. The codes of a publish that failed
// (PublishFailed.code) are the same ones.
type Code string

// All codes. A comment names the HTTP status; see Status.
const (
	CodeValidation          Code = "VALIDATION_ERROR"      // 400; also 405, 413, 415: the request is malformed
	CodeUnauthorized        Code = "UNAUTHORIZED"          // 401
	CodeForbidden           Code = "FORBIDDEN"             // 403
	CodeMissingScope        Code = "MISSING_SCOPE"         // 403
	CodeNotFound            Code = "NOT_FOUND"             // 404
	CodeAccountNotConnected Code = "ACCOUNT_NOT_CONNECTED" // 404
	CodeConflict            Code = "CONFLICT"              // 409
	CodeReauthRequired      Code = "REAUTH_REQUIRED"       // 409
	CodeAccountRestricted   Code = "ACCOUNT_RESTRICTED"    // 409
	CodeCanceled            Code = "CANCELED"              // 409
	CodeExpired             Code = "EXPIRED"               // 409
	CodeMediaRejected       Code = "MEDIA_REJECTED"        // 422
	CodeMediaUnreachable    Code = "MEDIA_UNREACHABLE"     // 422
	CodeContentRejected     Code = "CONTENT_REJECTED"      // 422
	CodeRateLimitExceeded   Code = "RATE_LIMIT_EXCEEDED"   // 429, ours
	CodeProviderRateLimited Code = "PROVIDER_RATE_LIMITED" // 429
	CodeQuotaExhausted      Code = "QUOTA_EXHAUSTED"       // 429
	CodeInternal            Code = "INTERNAL_ERROR"        // 500
	CodeServiceUnavailable  Code = "SERVICE_UNAVAILABLE"   // 503, ours
	CodeProviderUnavailable Code = "PROVIDER_UNAVAILABLE"  // 503
	CodeTimeout             Code = "TIMEOUT_ERROR"         // 504; 408 where the caller was too slow
)

// OutcomeUnknown is no error: it stands in the data of a 202 for a publish that
// is unconfirmed.
const OutcomeUnknown = "OUTCOME_UNKNOWN"

// Codes lists all codes.
func Codes() []Code {
	return []Code{
		CodeValidation, CodeUnauthorized, CodeForbidden, CodeMissingScope, CodeNotFound, CodeAccountNotConnected,
		CodeConflict, CodeReauthRequired, CodeAccountRestricted, CodeCanceled, CodeExpired,
		CodeMediaRejected, CodeMediaUnreachable, CodeContentRejected,
		CodeRateLimitExceeded, CodeProviderRateLimited, CodeQuotaExhausted,
		CodeInternal, CodeServiceUnavailable, CodeProviderUnavailable, CodeTimeout,
	}
}

// Status is the HTTP status of the code; 500 for one that is not ours.
func (c Code) Status() int {
	switch c {
	case CodeValidation:
		return http.StatusBadRequest
	case CodeUnauthorized:
		return http.StatusUnauthorized
	case CodeForbidden, CodeMissingScope:
		return http.StatusForbidden
	case CodeNotFound, CodeAccountNotConnected:
		return http.StatusNotFound
	case CodeConflict, CodeReauthRequired, CodeAccountRestricted, CodeCanceled, CodeExpired:
		return http.StatusConflict
	case CodeMediaRejected, CodeMediaUnreachable, CodeContentRejected:
		return http.StatusUnprocessableEntity
	case CodeRateLimitExceeded, CodeProviderRateLimited, CodeQuotaExhausted:
		return http.StatusTooManyRequests
	case CodeServiceUnavailable, CodeProviderUnavailable:
		return http.StatusServiceUnavailable
	case CodeTimeout:
		return http.StatusGatewayTimeout
	default:
		return http.StatusInternalServerError
	}
}

// Retryable says whether the same request may succeed later without anybody
// changing anything. An internal error is not among them: nobody knows whether
// trying again helps.
func (c Code) Retryable() bool {
	switch c {
	case CodeRateLimitExceeded, CodeProviderRateLimited, CodeQuotaExhausted,
		CodeServiceUnavailable, CodeProviderUnavailable, CodeTimeout:
		return true
	default:
		return false
	}
}

// Schema documents the codes; huma asks for it.
func (Code) Schema(huma.Registry) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString, Description: "What went wrong, for programs"}
	for _, c := range Codes() {
		s.Enum = append(s.Enum, string(c))
	}
	return s
}

// codeOf is the code of an HTTP status that a library answered with.
func codeOf(status int) Code {
	switch status {
	case http.StatusUnauthorized:
		return CodeUnauthorized
	case http.StatusForbidden:
		return CodeForbidden
	case http.StatusNotFound:
		return CodeNotFound
	case http.StatusRequestTimeout:
		return CodeTimeout
	case http.StatusServiceUnavailable:
		return CodeServiceUnavailable
	}
	if status >= http.StatusInternalServerError {
		return CodeInternal
	}
	return CodeValidation
}
