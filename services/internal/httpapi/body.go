package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// MaxBodyBytes is the most that a request body may hold.
const MaxBodyBytes = 1 << 20

const bodyLimit = 15 * time.Second

// readBody reads the whole body before anything else happens, within a time and
// a size. The deadline is taken back afterwards: net/http cancels a request
// whose read deadline passes while its handler is still at work, and ours wait.
func readBody(limit time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			r.Body, r.ContentLength = http.NoBody, 0 // what comes with one means nothing: it is not read
		}
		if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
			next.ServeHTTP(w, r)
			return
		}
		body, err := takeBody(w, r, limit)
		if err != nil {
			w.Header().Set("Connection", "close") // what is left of the body is not read
			WriteFailure(w, r, bodyError(err))
			return
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		next.ServeHTTP(w, r)
	})
}

func takeBody(w http.ResponseWriter, r *http.Request, limit time.Duration) ([]byte, error) {
	if r.ContentLength > MaxBodyBytes {
		return nil, &http.MaxBytesError{Limit: MaxBodyBytes}
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(limit)) // not supported by a recorder in tests
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBodyBytes))
	_ = rc.SetReadDeadline(time.Time{})
	return body, err
}

func bodyError(err error) *Error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &Error{Code: CodeValidation, Status: http.StatusRequestEntityTooLarge,
			Message: fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit)}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &Error{Code: CodeTimeout, Status: http.StatusRequestTimeout, Message: "the body did not arrive in time"}
	default:
		return &Error{Code: CodeValidation, Message: "the body could not be read to its end", Err: err}
	}
}

// checkMediaType accepts a body of one of these media types, and one that says
// nothing of itself.
func checkMediaType(r *http.Request, media []string) *Error {
	if r.ContentLength == 0 {
		return nil
	}
	unsupported := &Error{Code: CodeValidation, Status: http.StatusUnsupportedMediaType}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		unsupported.Message = "the body is compressed; send it as it is"
		return unsupported
	}
	ct := r.Header.Get("Content-Type")
	if ct == "" {
		return nil
	}
	got, _, err := mime.ParseMediaType(ct)
	if strings.HasSuffix(got, "+json") {
		got = "application/json"
	}
	if err != nil || !slices.Contains(media, got) {
		unsupported.Message = fmt.Sprintf("the body must be %s: send it with the header \"Content-Type: %s\"", strings.Join(media, " or "), media[0])
		return unsupported
	}
	return nil
}

// rescue answers for a handler that panicked.
func rescue(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it like this
				panic(p)
			}
			WriteFailure(w, r, &Error{Code: CodeInternal, Message: "something went wrong here; the request id finds it in the logs",
				Err: fmt.Errorf("panic: %v\n%s", p, debug.Stack())})
		}()
		next.ServeHTTP(w, r)
	})
}
