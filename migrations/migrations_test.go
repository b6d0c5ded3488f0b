package migrations_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"ariga.io/atlas/sql/migrate"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"postbus.dev/deploy/testbed"
	"postbus.dev/migrations"
)

const childEnv = "MIGRATIONS_CHILD_DSN"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(childEnv); dsn != "" {
		os.Exit(child(dsn))
	}
	os.Exit(testbed.Main(m))
}

// child is a starting service: it waits for the word, migrates and tells how
// many files it applied.
func child(dsn string) int {
	_, _ = os.Stdin.Read(make([]byte, 1))
	n, err := migrations.Apply(context.Background(), dsn, nil)
	fmt.Print(n, " ", err)
	return 0
}

// empty returns the URL of a database in which there is nothing yet.
func empty(t *testing.T) string {
	t.Helper()
	dsn := testbed.Database(t)
	execute(t, dsn, "DROP SCHEMA public CASCADE; DROP SCHEMA atlas_schema_revisions CASCADE; CREATE SCHEMA public")
	return dsn
}

func execute(t *testing.T, dsn string, sql string, args ...any) {
	t.Helper()
	if err := try(t, dsn, sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func try(t *testing.T, dsn string, sql string, args ...any) error {
	t.Helper()
	_, err := sessions(t, dsn).Exec(context.Background(), sql, args...)
	return err
}

func value[T any](t *testing.T, dsn, sql string, args ...any) (v T) {
	t.Helper()
	if err := sessions(t, dsn).QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// pools are of a test and a DSN each. A session is dear, and tests ask much.
var pools sync.Map

type poolKey struct {
	t   *testing.T
	dsn string
}

func sessions(t *testing.T, dsn string) *pgxpool.Pool {
	t.Helper()
	if p, ok := pools.Load(poolKey{t, dsn}); ok {
		return p.(*pgxpool.Pool)
	}
	c, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	// Migrations change types under the eyes of a session.
	c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	p, err := pgxpool.NewWithConfig(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if first, loaded := pools.LoadOrStore(poolKey{t, dsn}, p); loaded {
		p.Close()
		return first.(*pgxpool.Pool)
	}
	t.Cleanup(func() { pools.Delete(poolKey{t, dsn}); p.Close() })
	return p
}

// directory is an Atlas directory with the embedded files and these.
func directory(t *testing.T, files map[string]string) fstest.MapFS {
	t.Helper()
	dir := &migrate.MemDir{}
	texts := map[string]string{}
	names, err := fs.Glob(migrations.Versions(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := fs.ReadFile(migrations.Versions(), name)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(b)
	}
	maps.Copy(texts, files)
	out := fstest.MapFS{}
	for name, text := range texts {
		if err := dir.WriteFile(name, []byte(text)); err != nil {
			t.Fatal(err)
		}
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	sum, err := dir.Checksum()
	if err != nil {
		t.Fatal(err)
	}
	b, err := sum.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	out[migrate.HashFileName] = &fstest.MapFile{Data: b}
	return out
}

const later = "20991231000001_later.sql"

func TestFiveProcessesMayStartOnAnEmptyDatabaseAtOnce(t *testing.T) {
	t.Parallel()
	dsn := empty(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var outs [5]bytes.Buffer
	var words []io.Closer
	var wg sync.WaitGroup
	for i := range outs {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), childEnv+"="+dsn)
		cmd.Stdout = &outs[i]
		word, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		words = append(words, word)
		wg.Go(func() {
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
	for _, word := range words {
		word.Close()
	}
	wg.Wait()
	got := map[string]int{}
	for i := range outs {
		got[outs[i].String()]++
	}
	files, err := fs.Glob(migrations.Versions(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	if got[fmt.Sprint(len(files), " <nil>")] != 1 || got["0 <nil>"] != 4 {
		t.Fatalf("one should apply the files and four nothing, got %v", got)
	}
	if pending, err := migrations.Pending(t.Context(), dsn); pending != 0 || err != nil {
		t.Fatalf("pending: %d, %v", pending, err)
	}
}

func TestAnEmptyDatabaseLacksEverythingAndIsNotTouchedByTheQuestion(t *testing.T) {
	t.Parallel()
	dsn := empty(t)
	state, err := migrations.Inspect(t.Context(), dsn)
	if err != nil || state.Current != "" || len(state.Pending) == 0 {
		t.Fatalf("got %+v, %v", state, err)
	}
	if value[bool](t, dsn, "SELECT to_regnamespace('atlas_schema_revisions') IS NOT NULL") {
		t.Fatal("the question made a table")
	}
}

func TestAnEventCanBeAppendedRightAfterApply(t *testing.T) {
	t.Parallel()
	dsn := empty(t)
	var log bytes.Buffer
	n, err := migrations.Apply(t.Context(), dsn, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil || n == 0 {
		t.Fatalf("applied %d, %v", n, err)
	}
	if !strings.Contains(log.String(), "file=20261122000001_init.sql") {
		t.Errorf("log: %s", log.String())
	}
	execute(t, dsn, appendEvent, "now")
	execute(t, dsn, appendEvent, "tomorrow")
	if n, err := migrations.Apply(t.Context(), dsn, nil); n != 0 || err != nil {
		t.Fatalf("the second time applied %d, %v", n, err)
	}
}

func TestAnAppliedFileThatWasEditedIsRefused(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dsn := testbed.Database(t)
	if _, err := migrations.ApplyFrom(ctx, dsn, nil, directory(t, map[string]string{later: "CREATE TABLE a (n int);"})); err != nil {
		t.Fatal(err)
	}
	edited := directory(t, map[string]string{later: "CREATE TABLE a (n bigint);", "20991231000002_more.sql": "CREATE TABLE b (n int);"})
	_, err := migrations.ApplyFrom(ctx, dsn, nil, edited)
	if err == nil || !strings.Contains(err.Error(), later) || !strings.Contains(err.Error(), "was edited after it had been applied") {
		t.Fatalf("got %v", err)
	}
	if _, err := migrations.InspectFrom(ctx, dsn, edited); err == nil {
		t.Error("Inspect did not mind")
	}
	if value[bool](t, dsn, "SELECT to_regclass('b') IS NOT NULL") {
		t.Error("the file after it was applied")
	}
}

func TestFilesThatDoNotFitTheirSumsAreRefused(t *testing.T) {
	t.Parallel()
	tampered := directory(t, map[string]string{later: "CREATE TABLE a (n int);"})
	tampered[later] = &fstest.MapFile{Data: []byte("DROP TABLE users;")}
	_, err := migrations.ApplyFrom(t.Context(), "host=/nowhere", nil, tampered)
	if err == nil || !strings.Contains(err.Error(), "check atlas.sum: "+later+" was edited") {
		t.Fatalf("got %v", err)
	}
}

func TestAFileAddedOutOfOrderIsRefused(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dsn := testbed.Database(t)
	if _, err := migrations.ApplyFrom(ctx, dsn, nil, directory(t, map[string]string{later: "CREATE TABLE a (n int);"})); err != nil {
		t.Fatal(err)
	}
	const between = "20991230000001_between.sql"
	_, err := migrations.ApplyFrom(ctx, dsn, nil, directory(t, map[string]string{later: "CREATE TABLE a (n int);", between: "CREATE TABLE b (n int);"}))
	if err == nil || value[bool](t, dsn, "SELECT to_regclass('b') IS NOT NULL") {
		t.Fatalf("got %v", err)
	}
}

func TestAnOlderBinaryWorksOnANewerDatabase(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dsn := testbed.Database(t)
	if n, err := migrations.ApplyFrom(ctx, dsn, nil, directory(t, map[string]string{later: "CREATE TABLE a (n int);"})); n != 1 || err != nil {
		t.Fatalf("applied %d, %v", n, err)
	}
	if n, err := migrations.Apply(ctx, dsn, nil); n != 0 || err != nil {
		t.Fatalf("the older one applied %d, %v", n, err)
	}
	state, err := migrations.Inspect(ctx, dsn)
	if err != nil || len(state.Pending) != 0 || state.Current != "20991231000001" {
		t.Fatalf("got %+v, %v", state, err)
	}
}

func TestAFailingFileLeavesNothingAndNamesItsLine(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dsn := testbed.Database(t)
	bad := directory(t, map[string]string{later: "CREATE TABLE a (n int);\n\nINSERT INTO a VALUES ('secret words');\nCREATE TABLE b (n int);\n"})
	_, err := migrations.ApplyFrom(ctx, dsn, nil, bad)
	var pg *pgconn.PgError
	if err == nil || !strings.Contains(err.Error(), "apply migration "+later+": statement at line 3: ") || !errors.As(err, &pg) || strings.Contains(err.Error(), "\n") {
		t.Fatalf("got %v", err)
	}
	if value[bool](t, dsn, "SELECT to_regclass('a') IS NOT NULL") {
		t.Error("its first statement is left")
	}
	if state, err := migrations.InspectFrom(ctx, dsn, bad); err != nil || len(state.Pending) != 1 {
		t.Errorf("got %+v, %v", state, err)
	}
	good := directory(t, map[string]string{later: "CREATE TABLE a (n int);\n"})
	if n, err := migrations.ApplyFrom(ctx, dsn, nil, good); n != 1 || err != nil {
		t.Errorf("the corrected file: applied %d, %v", n, err)
	}
}

func TestAFileMayForgoItsTransactionAndGoesOnWhereItFailed(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dsn := testbed.Database(t)
	files := directory(t, map[string]string{later: "-- atlas:txmode none\n\nCREATE TABLE a (n int);\nCREATE INDEX CONCURRENTLY a_n ON a (n);\nINSERT INTO elsewhere VALUES (1);\n"})
	if _, err := migrations.ApplyFrom(ctx, dsn, nil, files); err == nil {
		t.Fatal("no error")
	}
	execute(t, dsn, "CREATE TABLE elsewhere (n int)")
	if n, err := migrations.ApplyFrom(ctx, dsn, nil, files); n != 1 || err != nil {
		t.Fatalf("applied %d, %v", n, err)
	}
	if n := value[int](t, dsn, "SELECT count(*) FROM elsewhere"); n != 1 {
		t.Fatalf("%d rows", n)
	}
}

func TestWaitingForAnotherMigrationEndsWithTheContext(t *testing.T) {
	t.Parallel()
	dsn := empty(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	holder, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close(context.Background())
	// The CLI's lock: fnv32("atlas_migrate_execute").
	if _, err := holder.Exec(ctx, "SELECT pg_advisory_lock($1)", lockID()); err != nil {
		t.Fatal(err)
	}
	if _, err := migrations.Apply(ctx, dsn, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
}

func TestApplyOnAReadOnlyDatabaseThatFitsIsFine(t *testing.T) {
	t.Parallel()
	dsn := testbed.Database(t)
	execute(t, dsn, "ALTER DATABASE "+value[string](t, dsn, "SELECT current_database()::text")+" SET default_transaction_read_only = on")
	if n, err := migrations.Apply(t.Context(), dsn, nil); n != 0 || err != nil {
		t.Fatalf("applied %d, %v", n, err)
	}
}

func TestAPasswordIsNotInAnyError(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for _, dsn := range []string{
		"postgres://user:hunter2@127.0.0.1:1/db", "postgres://user:hunter2@127.0.0.1:bad/db", "host=/nowhere user=u password=hunter2", "password=hunter2 nonsense",
	} {
		if _, err := migrations.Apply(ctx, dsn, nil); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v", err)
		}
	}
}
