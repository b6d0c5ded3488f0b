package connectors

import (
	"bytes"
	"context"
	"errors"
	"time"
)

// Commit makes the one call of a post that cannot be taken back. It needs a
// context from WithArm and works once in it.
//
// The order is the point:
//
//  1. the request is put into bytes, and the connection is dialed with its TLS
//     handshake: whatever can fail slowly fails before anything is armed;
//  2. the Arm hook writes down that the call is about to be made;
//  3. the request is written, on that connection alone: HTTP/1.1, no proxy, no
//     redirect, no keep-alive, no second attempt. No byte is written after
//     Window.SendBy, however long this process slept in between;
//  4. the answer is awaited until Window.AnswerBy.
//
// An answer is returned whatever its status, and only when it is complete. An
// error of the hook is returned as it is. Every other error is an *Error:
// KindRetry with NotSent when not one byte left this process after the hook was
// called (or it was not called), else KindUnknown.
func (c *Client) Commit(ctx context.Context, r Request) (*Response, error) {
	arm, refused := takeArm(ctx)
	if refused != nil {
		refused.Call.Name = r.Name
		return nil, refused
	}
	start := time.Now()
	spanCtx, span := c.startSpan(ctx, r)
	// The hook gets the caller's context: what it does is no part of the call.
	hook := func(context.Context) (Window, error) {
		span.AddEvent("connected")
		w, err := arm(ctx)
		if err != nil {
			return w, &hookError{err}
		}
		span.AddEvent("armed")
		return w, nil
	}
	resp, err := c.commit(spanCtx, r, hook)
	return c.finish(spanCtx, span, r, start, resp, err)
}

// hookError marks an error of the Arm hook on its way out: it is not ours to
// change, so it cannot be unwrapped.
type hookError struct{ error }

func (c *Client) commit(ctx context.Context, r Request, arm Arm) (*Response, error) {
	raw, err := c.serialize(ctx, r)
	if err != nil {
		return nil, notSent(err)
	}
	conn, err := c.dialCommit(ctx, r)
	if err != nil {
		return nil, notSent(err)
	}
	defer conn.Close()
	window, err := arm(ctx)
	if err != nil {
		return nil, err
	}
	if err := conn.open(window); err != nil {
		return nil, notSent(err)
	}
	defer context.AfterFunc(ctx, conn.abort)()
	if err := conn.send(ctx, raw); err != nil {
		if conn.sent() == 0 {
			return nil, notSent(err)
		}
		return nil, unknown(ctx, err)
	}
	resp, err := conn.answer(r.Method)
	if err != nil {
		return nil, unknown(ctx, err)
	}
	return resp, nil
}

// serialize writes the request into memory, so that it is one write on the
// connection and so that what cannot be written at all fails before the dial.
func (c *Client) serialize(ctx context.Context, r Request) ([]byte, error) {
	req, err := c.build(ctx, r)
	if err != nil {
		return nil, err
	}
	req.Close = true
	req.Header.Set("Accept-Encoding", "identity")
	var b bytes.Buffer
	if err := req.Write(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func notSent(err error) *Error {
	return &Error{Kind: KindRetry, Code: codeOf(err), NotSent: true, Err: opaque(err)}
}

func unknown(ctx context.Context, err error) *Error {
	if ctx.Err() != nil {
		err = errors.Join(ctx.Err(), err)
	}
	return &Error{Kind: KindUnknown, Code: codeOf(err), Err: opaque(err)}
}
