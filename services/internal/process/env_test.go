package process

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func env(values map[string]string) *Env {
	return NewEnv(func(name string) string { return values[name] })
}

func TestSettingsAreReadByType(t *testing.T) {
	t.Parallel()
	e := env(map[string]string{
		"S": "text", "R": "there", "D": "250ms", "I": "7", "B": "true", "A": ":3000",
		"U": "nats://localhost:4222", "L": " a, b ,,c", "O": "two",
	})
	if e.String("S", "x") != "text" || e.Required("R", "it") != "there" || e.Duration("D", 0, 0) != 250*time.Millisecond ||
		e.Int("I", 0, 1, 10) != 7 || !e.Bool("B", false) || e.Addr("A", "") != ":3000" ||
		e.URL("U", "", "nats", "tls") != "nats://localhost:4222" || e.OneOf("O", "one", "one", "two") != "two" ||
		!slices.Equal(e.List("L"), []string{"a", "b", "c"}) {
		t.Error("a setting was not read")
	}
	if err := e.Err(); err != nil {
		t.Error(err)
	}
}

func TestUnsetSettingsHaveTheirDefault(t *testing.T) {
	t.Parallel()
	e := env(nil)
	if e.String("S", "x") != "x" || e.Duration("D", time.Second, 0) != time.Second || e.Int("I", 3, 5, 9) != 3 ||
		!e.Bool("B", true) || e.Addr("A", "h:1") != "h:1" || e.URL("U", "u", "http") != "u" || e.OneOf("O", "one", "one") != "one" || e.List("L") != nil {
		t.Error("a default was lost")
	}
	if err := e.Err(); err != nil {
		t.Error(err)
	}
}

func TestAllFaultsAreReportedAtOnceWithWhatToDo(t *testing.T) {
	t.Parallel()
	e := env(map[string]string{
		"D": "fast", "SHORT": "1ms", "I": "eleven", "BIG": "11", "B": "maybe", "A": "3000", "PORT": "h:http", "U": "localhost", "V": "ftp://h", "O": "three",
	})
	e.Required("DATABASE_URL", "a PostgreSQL connection string")
	e.Duration("D", 0, 0)
	e.Duration("SHORT", 0, time.Second)
	e.Int("I", 0, 0, 10)
	e.Int("BIG", 0, 0, 10)
	e.Bool("B", false)
	e.Addr("A", "")
	e.Addr("PORT", "")
	e.URL("U", "", "nats")
	e.URL("V", "", "http", "https")
	e.OneOf("O", "one", "one", "two")
	e.Fault("OWN", "does not fit %s", "B")

	var err *EnvError
	if !errors.As(e.Err(), &err) {
		t.Fatalf("got %v", e.Err())
	}
	want := []string{"DATABASE_URL", "D", "SHORT", "I", "BIG", "B", "A", "PORT", "U", "V", "O", "OWN"}
	var got []string
	for _, f := range err.Faults {
		got = append(got, f.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("faults of %v, want %v", got, want)
	}
	for _, hint := range []string{"set it to a PostgreSQL connection string", "30s", "from 0 to 10", "127.0.0.1:3000", "http:// or https://", "one, two", "does not fit B"} {
		if !strings.Contains(err.Error(), hint) {
			t.Errorf("does not say %q:\n%v", hint, err)
		}
	}
}

func TestAFaultDoesNotRepeatTheValue(t *testing.T) {
	t.Parallel()
	e := env(map[string]string{"U": "postgres//user:hunter2@host/db"})
	e.URL("U", "", "postgres")
	if e.Err() == nil || strings.Contains(e.Err().Error(), "hunter2") {
		t.Errorf("got %v", e.Err())
	}
}
