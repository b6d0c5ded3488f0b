package connectors

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
)

// opaqueError keeps a network error's chain for errors.Is and replaces its
// text: net/http quotes URLs and pieces of answers in its errors, and both may
// hold a token.
type opaqueError struct {
	text string
	err  error
}

func (e *opaqueError) Error() string { return e.text }
func (e *opaqueError) Unwrap() error { return e.err }

func opaque(err error) error { return &opaqueError{text: safeText(err), err: err} }

// safeText tells what went wrong from errors that are known to quote nothing.
func safeText(err error) string {
	var (
		op   *net.OpError
		cert *tls.CertificateVerificationError
		host x509.HostnameError
		rec  tls.RecordHeaderError
	)
	switch {
	case errors.Is(err, context.Canceled):
		return "canceled"
	case isTimeout(err):
		return "timed out"
	case errors.As(err, &cert):
		return cert.Error()
	case errors.As(err, &host):
		return host.Error()
	case errors.As(err, &rec):
		return "no TLS spoken there"
	case errors.As(err, &op):
		return op.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed before the answer was complete"
	}
	for _, known := range []error{errBadURL, errTooLarge, errWindow, errWindowClosed, errPeerClosed, errNoEnd, errTooMany1xx, errALPN} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "unreadable answer or broken connection"
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}

func codeOf(err error) string {
	switch {
	case isTimeout(err):
		return CodeTimeout
	case errors.Is(err, errBadURL), errors.Is(err, errWindow):
		return CodeInternal
	}
	return CodeUnavailable
}
