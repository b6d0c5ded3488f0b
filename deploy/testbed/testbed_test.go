package testbed_test

import (
	"context"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"

	"postbus.dev/deploy/testbed"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

func TestADatabaseTakesAnOutboxRow(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, testbed.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `INSERT INTO outbox (id, service, stream, subject, event) VALUES (gen_random_uuid(), 'publisher', 'PUBLISH', 'publish.completed', '{}')`); err != nil {
		t.Fatal(err)
	}
}

func TestNATSAnswers(t *testing.T) {
	t.Parallel()
	if url := testbed.NATS(t); url == "" {
		t.Fatal("no URL")
	}
}
