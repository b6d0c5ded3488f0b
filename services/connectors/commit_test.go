package connectors

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 26\r\n\r\n" + `{"id":"17920238422030506"}`

// answering reads one request and writes s.
func answering(s string) func(p *peer, c net.Conn) {
	return func(p *peer, c net.Conn) {
		p.read(c, requestSeen)
		respond(c, s)
	}
}

func TestCommitSendsOneHTTP11RequestAndReturnsTheAnswer(t *testing.T) {
	t.Parallel()
	p := listen(t, answering(okAnswer))
	resp, err := testClient(t, ClientConfig{UserAgent: "postbus/1"}).Commit(armFor(5*time.Second), commitRequest(p))
	if err != nil {
		t.Fatal(err)
	}
	if resp.Status != 200 || string(resp.Body) != `{"id":"17920238422030506"}` || resp.Call.Name != "media_publish" || resp.Call.Status != 200 {
		t.Fatalf("got %+v", resp)
	}
	req, err := http.ReadRequest(newReader(p.bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if req.Method != "POST" || req.URL.Path != "/v25.0/17840001/media_publish" || req.Proto != "HTTP/1.1" || !req.Close {
		t.Errorf("got %v %v %v close=%v", req.Method, req.URL, req.Proto, req.Close)
	}
	want := http.Header{
		"Authorization": {"Bearer " + testToken}, "User-Agent": {"postbus/1"}, "Accept": {"application/json"}, "Accept-Encoding": {"identity"},
		"Content-Type": {"application/x-www-form-urlencoded"}, "Content-Length": {"29"}, "Connection": {"close"},
	}
	for k := range req.Header {
		if _, ok := want[k]; !ok {
			t.Errorf("header %s was sent", k)
		}
	}
	for k, v := range want {
		if got := req.Header[k]; k != "Connection" && (len(got) != 1 || got[0] != v[0]) {
			t.Errorf("%s: got %q, want %q", k, got, v)
		}
	}
}

func TestCommitArmsAfterTheConnectionStandsAndBeforeTheFirstByte(t *testing.T) {
	t.Parallel()
	accepted := make(chan struct{})
	p := listen(t, func(p *peer, c net.Conn) {
		close(accepted)
		answering(okAnswer)(p, c)
	})
	arms := 0
	ctx := WithArm(context.Background(), func(context.Context) (Window, error) {
		arms++
		<-accepted
		if n := len(p.bytes()); n != 0 {
			t.Errorf("%d bytes were sent before the hook returned", n)
		}
		return Window{SendBy: time.Now().Add(5 * time.Second), UserTimeout: time.Second}, nil
	})
	if _, err := testClient(t, ClientConfig{}).Commit(ctx, commitRequest(p)); err != nil {
		t.Fatal(err)
	}
	if arms != 1 {
		t.Errorf("armed %d times", arms)
	}
}

func TestCommitThatCannotConnectIsNotArmed(t *testing.T) {
	t.Parallel()
	p := listen(t, func(*peer, net.Conn) {})
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	for name, url := range map[string]string{
		"refused":       "http://" + dead.Addr().String() + "/",
		"TLS handshake": "https://" + p.addr + "/",
		"no such host":  "http://postbus.invalid/",
		"not a URL":     "http://127.0.0.1:x/?access_token=" + testToken,
		"credentials":   "http://user:" + testToken + "@127.0.0.1/",
		"other scheme":  "ftp://127.0.0.1/",
	} {
		t.Run(name, func(t *testing.T) {
			ctx := WithArm(context.Background(), func(context.Context) (Window, error) {
				t.Error("armed")
				return Window{}, nil
			})
			req := commitRequest(p)
			req.URL = url
			_, err := testClient(t, ClientConfig{}).Commit(ctx, req)
			e := wantKind(t, err, KindRetry, true)
			if strings.Contains(e.Error(), testToken) {
				t.Errorf("the error holds the token: %v", e)
			}
		})
	}
}

func TestCommitReturnsTheHooksErrorAndSendsNothing(t *testing.T) {
	t.Parallel()
	p := listen(t, func(p *peer, c net.Conn) { p.read(c, never) })
	lost := errors.New("lane lost")
	ctx := WithArm(context.Background(), func(context.Context) (Window, error) { return Window{}, lost })
	_, err := testClient(t, ClientConfig{}).Commit(ctx, commitRequest(p))
	if !errors.Is(err, lost) {
		t.Fatalf("got %v", err)
	}
	if n := len(p.bytes()); n != 0 {
		t.Errorf("%d bytes were sent", n)
	}
}

func TestCommitWithoutAnArmedContextSendsNothing(t *testing.T) {
	t.Parallel()
	p := listen(t, func(p *peer, c net.Conn) { p.read(c, never) })
	_, err := testClient(t, ClientConfig{}).Commit(context.Background(), commitRequest(p))
	wantKind(t, err, KindRetry, true)
}

func TestSecondCommitInOneContextIsRefusedAsUnknown(t *testing.T) {
	t.Parallel()
	p := listen(t, answering(okAnswer))
	c := testClient(t, ClientConfig{})
	ctx := armFor(5 * time.Second)
	if _, err := c.Commit(ctx, commitRequest(p)); err != nil {
		t.Fatal(err)
	}
	first := len(p.bytes())
	_, err := c.Commit(ctx, commitRequest(p))
	wantKind(t, err, KindUnknown, false)
	if len(p.bytes()) != first {
		t.Error("the second call was sent")
	}
}

func TestCommitWritesNothingAfterSendBy(t *testing.T) {
	t.Parallel()
	for name, window := range map[string]func() Window{
		"process slept between arm and write": func() Window {
			w := Window{SendBy: time.Now().Add(20 * time.Millisecond), UserTimeout: time.Second}
			time.Sleep(40 * time.Millisecond)
			return w
		},
		"no send window":  func() Window { return Window{UserTimeout: time.Second} },
		"no user timeout": func() Window { return Window{SendBy: time.Now().Add(time.Hour)} },
	} {
		t.Run(name, func(t *testing.T) {
			p := listen(t, func(p *peer, c net.Conn) { p.read(c, never) })
			ctx := WithArm(context.Background(), func(context.Context) (Window, error) { return window(), nil })
			_, err := testClient(t, ClientConfig{}).Commit(ctx, commitRequest(p))
			wantKind(t, err, KindRetry, true)
			if n := len(p.bytes()); n != 0 {
				t.Errorf("%d bytes were sent", n)
			}
		})
	}
}

func TestCommitChecksTheWindowBeforeEveryWriteToTheKernel(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	p := listen(t, func(p *peer, c net.Conn) {
		<-gate
		p.read(c, never)
	})
	req := commitRequest(p)
	req.Body = bytes.Repeat([]byte("x"), longBody)
	var armedAt time.Time
	ctx := WithArm(context.Background(), func(context.Context) (Window, error) {
		armedAt = time.Now()
		return Window{SendBy: armedAt.Add(300 * time.Millisecond), UserTimeout: time.Second}, nil
	})
	_, err := testClient(t, ClientConfig{}).Commit(ctx, req)
	took := time.Since(armedAt)
	close(gate)
	wantKind(t, err, KindUnknown, false)
	if took < 300*time.Millisecond || took > 3*time.Second {
		t.Errorf("took %v", took)
	}
}

// longBody is more than the socket buffers of both ends hold.
const longBody = 24 << 20

func TestGuardRefusesBetweenTwoWritesOfOneRequest(t *testing.T) {
	t.Parallel()
	drain := make(chan struct{})
	p := listen(t, func(p *peer, c net.Conn) {
		<-drain
		p.read(c, never)
	})
	conn, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	checks := 0
	n, err := writeChecked(conn.(*net.TCPConn), bytes.Repeat([]byte("x"), longBody), func() error {
		if checks++; checks > 1 {
			return errWindowClosed
		}
		time.AfterFunc(50*time.Millisecond, func() { close(drain) })
		return nil
	})
	if !errors.Is(err, errWindowClosed) || n == 0 || n == longBody {
		t.Fatalf("wrote %d bytes, %v", n, err)
	}
}

func TestGuardRefusesByEachClockAlone(t *testing.T) {
	t.Parallel()
	later, before := time.Now().Add(time.Hour), time.Now().Add(-time.Second)
	for name, g := range map[string]guard{
		"machine was suspended, which only the wall clock shows": {sendBy: later, wallBy: before.Round(0)},
		"wall clock was set back":                                {sendBy: before, wallBy: later.Round(0)},
	} {
		if err := g.check(); !errors.Is(err, errWindowClosed) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := (&guard{sendBy: later, wallBy: later.Round(0)}).check(); err != nil {
		t.Errorf("within the window: got %v", err)
	}
}

func TestCommitWhoseProviderClosedFirstWasNotSent(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(net.Conn){
		"close": func(c net.Conn) { c.Close() },
		"reset": func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			closed := make(chan struct{})
			p := listen(t, func(_ *peer, c net.Conn) { end(c); close(closed) })
			ctx := WithArm(context.Background(), func(context.Context) (Window, error) {
				<-closed
				return Window{SendBy: time.Now().Add(5 * time.Second), UserTimeout: time.Second}, nil
			})
			_, err := testClient(t, ClientConfig{}).Commit(ctx, commitRequest(p))
			wantKind(t, err, KindRetry, true)
		})
	}
}

func TestCommitAnswerCutAtAnyByteIsUnknown(t *testing.T) {
	t.Parallel()
	answers := map[string]string{
		"length":  okAnswer,
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1a\r\n" + `{"id":"17920238422030506"}` + "\r\n0\r\n\r\n",
		"1xx":     "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + okAnswer,
	}
	for name, whole := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cut := make(chan int, 1)
			p := listen(t, func(p *peer, c net.Conn) {
				(&peer{}).read(c, requestSeen)
				respond(c, whole[:<-cut])
			})
			c := testClient(t, ClientConfig{})
			for n := range len(whole) {
				cut <- n
				_, err := c.Commit(armFor(5*time.Second), commitRequest(p))
				wantKind(t, err, KindUnknown, false)
			}
			cut <- len(whole)
			if _, err := c.Commit(armFor(5*time.Second), commitRequest(p)); err != nil {
				t.Errorf("the whole answer: %v", err)
			}
		})
	}
}

func TestCommitWithoutAReadableAnswerIsUnknown(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", MaxResponse+1)
	for name, answer := range map[string]string{
		"not HTTP":            "SSH-2.0-OpenSSH\r\n",
		"body too large":      "HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n" + big,
		"endless headers":     "HTTP/1.1 200 OK\r\nX: " + big + big + big,
		"no marked end":       "HTTP/1.1 200 OK\r\n\r\n" + `{"id":"1"}`,
		"endless 1xx":         strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 20) + okAnswer,
		"two lengths":         "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 26\r\n\r\n{}",
		"unreadable chunks":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"connection switched": "HTTP/1.1 101 Switching Protocols\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := listen(t, answering(answer))
			_, err := testClient(t, ClientConfig{}).Commit(armFor(5*time.Second), commitRequest(p))
			e := wantKind(t, err, KindUnknown, false)
			if strings.Contains(e.Error(), "SSH") || strings.Contains(e.Error(), "zz") {
				t.Errorf("the error quotes the answer: %v", e)
			}
		})
	}
}

func TestCommitReturnsEveryCompleteAnswerWhateverItsStatus(t *testing.T) {
	t.Parallel()
	for _, status := range []int{204, 302, 400, 500} {
		p := listen(t, answering(fmt.Sprintf("HTTP/1.1 %d X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", status)))
		resp, err := testClient(t, ClientConfig{}).Commit(armFor(5*time.Second), commitRequest(p))
		if err != nil || resp.Status != status {
			t.Errorf("%d: %v, %v", status, resp, err)
		}
	}
}

func TestCommitWaitsForTheAnswerUntilAnswerBy(t *testing.T) {
	t.Parallel()
	p := listen(t, func(p *peer, c net.Conn) {
		p.read(c, requestSeen)
		time.Sleep(150 * time.Millisecond)
		respond(c, okAnswer)
	})
	window := func(answer time.Duration) context.Context {
		return WithArm(context.Background(), func(context.Context) (Window, error) {
			now := time.Now()
			return Window{SendBy: now.Add(50 * time.Millisecond), AnswerBy: now.Add(answer), UserTimeout: time.Second}, nil
		})
	}
	c := testClient(t, ClientConfig{})
	if _, err := c.Commit(window(5*time.Second), commitRequest(p)); err != nil {
		t.Errorf("an answer after SendBy and before AnswerBy: %v", err)
	}
	_, err := c.Commit(window(60*time.Millisecond), commitRequest(p))
	if e := wantKind(t, err, KindUnknown, false); e.Code != CodeTimeout {
		t.Errorf("got %s", e.Code)
	}
}

func TestCommitToAProviderThatNeverReadsNorAnswersIsUnknown(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	p := listen(t, func(*peer, net.Conn) { <-done })
	defer close(done)
	ctx := WithArm(context.Background(), func(context.Context) (Window, error) {
		return Window{SendBy: time.Now().Add(50 * time.Millisecond), UserTimeout: 50 * time.Millisecond}, nil
	})
	start := time.Now()
	_, err := testClient(t, ClientConfig{}).Commit(ctx, commitRequest(p))
	wantKind(t, err, KindUnknown, false)
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("waited %v, SendBy and the user timeout ended after 0.1 s", took)
	}
}

func TestCommitCanceledWhileWaitingIsUnknown(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(armFor(5 * time.Second))
	p := listen(t, func(p *peer, c net.Conn) {
		p.read(c, requestSeen)
		cancel()
		p.read(c, never)
	})
	start := time.Now()
	_, err := testClient(t, ClientConfig{}).Commit(ctx, commitRequest(p))
	wantKind(t, err, KindUnknown, false)
	if took := time.Since(start); !errors.Is(err, context.Canceled) || took > 4*time.Second {
		t.Errorf("got %v after %v", err, took)
	}
}

func TestCommitCanceledInTheHookWasNotSent(t *testing.T) {
	t.Parallel()
	p := listen(t, func(p *peer, c net.Conn) { p.read(c, never) })
	ctx, cancel := context.WithCancel(context.Background())
	armed := WithArm(ctx, func(context.Context) (Window, error) {
		cancel()
		return Window{SendBy: time.Now().Add(time.Minute), UserTimeout: time.Second}, nil
	})
	_, err := testClient(t, ClientConfig{}).Commit(armed, commitRequest(p))
	wantKind(t, err, KindRetry, true)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
