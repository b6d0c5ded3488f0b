package onecall_test

import (
	"net/http/httptest"
	"testing"

	"go.uber.org/goleak"

	"postbus.dev/deploy/e2e/bench/onecall"
	"postbus.dev/services/connectors"
	"postbus.dev/services/connectors/connectortest"
	"postbus.dev/services/connectors/sandbox/bench"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What the benchmark measures keeps the contract: whatever happens to its one
// call, the post is there once and is known to be.
func TestAPublishEndsCompletedWithOnePost(t *testing.T) {
	for _, trouble := range []connectortest.Trouble{
		"", connectortest.RequestLost, connectortest.ErrorBefore, connectortest.AnswerLost, connectortest.AnswerCut, connectortest.ErrorAfter, connectortest.AnswerUnreadable,
	} {
		t.Run("with "+string(trouble), func(t *testing.T) {
			t.Parallel()
			const id = "0198c0de-0000-8000-8000-000000000001"
			provider := bench.New()
			wire := connectortest.NewWire(provider.Handler())
			server := httptest.NewServer(wire)
			client := connectors.NewClient(connectors.ClientConfig{})
			t.Cleanup(func() { wire.Close(); client.Close(); server.Close() })
			c, err := onecall.New(onecall.Config{Client: client, BaseURL: server.URL, TimeFactor: 0.002})
			if err != nil {
				t.Fatal(err)
			}
			if trouble != "" {
				wire.Break(trouble)
			}
			posted := func() []connectors.RemotePost {
				return make([]connectors.RemotePost, provider.Get(id).Count)
			}
			r := connectortest.Run(t, connectortest.Config{
				Publisher: c, Account: connectors.Account{AccessToken: connectors.NewSecret("very-secret")},
				Post: connectors.Post{PublishID: id, MediaType: connectors.Text, Caption: "hello"}, Wire: wire, Posted: posted,
			})
			if r.State != connectortest.Completed || len(posted()) != 1 || r.Post.ID != id {
				t.Errorf("%s, %d posted: %v", r.State, len(posted()), r.Log)
			}
		})
	}
}
