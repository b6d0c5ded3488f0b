package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postbus.dev/deploy/testbed"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// inCopy makes a copy of the migrations the working directory.
func inCopy(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for _, part := range []string{desired, directory} {
		from := filepath.Join("..", "..", part)
		info, err := os.Stat(from)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			err = os.CopyFS(filepath.Join(dir, part), os.DirFS(from))
		} else {
			var b []byte
			if b, err = os.ReadFile(from); err == nil {
				err = os.WriteFile(filepath.Join(dir, part), b, 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

func add(t *testing.T, file, text string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func call(t *testing.T, command string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), []string{command}, &out)
	return out.String(), err
}

func TestTheFilesInTheTreeAreUpToDate(t *testing.T) {
	t.Chdir("../..")
	if _, err := call(t, "check"); err != nil {
		t.Fatal(err)
	}
}

func TestANewFileNeedsItsSum(t *testing.T) {
	inCopy(t)
	add(t, filepath.Join(directory, "20991231000001_second.sql"), "CREATE TABLE y (n int);")
	if _, err := call(t, "check"); err == nil || !strings.Contains(err.Error(), "atlas.sum") {
		t.Errorf("check without its sum: %v", err)
	}
	if _, err := call(t, "hash"); err != nil {
		t.Fatal(err)
	}
	if _, err := call(t, "check"); err != nil {
		t.Errorf("check with its sum: %v", err)
	}
}

func TestDiffSaysWhatANewFileMustDo(t *testing.T) {
	inCopy(t)
	t.Setenv("DATABASE_URL", "")
	if _, err := call(t, "diff"); err == nil || !strings.Contains(err.Error(), "DATABASE_URL is not set") {
		t.Errorf("without a database: %v", err)
	}
	t.Setenv("DATABASE_URL", testbed.Database(t))
	if out, err := call(t, "diff"); err != nil || out != "-- the versioned files lead to schema.sql\n" {
		t.Errorf("got %q, %v", out, err)
	}
	add(t, desired, "\nALTER TABLE users ADD COLUMN x text;\n")
	out, err := call(t, "diff")
	if err != nil || !strings.Contains(out, `ALTER TABLE "public"."users" ADD COLUMN "x" text NULL;`) || !strings.Contains(out, "-- column public.users.x is missing: ") {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestAWrongCallIsAnsweredWithTheUsage(t *testing.T) {
	for _, command := range []string{"down", ""} {
		if _, err := call(t, command); err == nil || !strings.Contains(err.Error(), usage) {
			t.Errorf("%q: %v", command, err)
		}
	}
	if _, err := call(t, "--help"); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("--help: %v", err)
	}
}
