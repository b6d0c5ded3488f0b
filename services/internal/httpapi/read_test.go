package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

type widget struct {
	_      struct{}  `additionalProperties:"false"`
	Name   string    `json:"name" minLength:"1" maxLength:"5"`
	Token  string    `json:"token,omitempty" pattern:"^[!-~]*$" patternDescription:"printable ASCII" minLength:"3"`
	Count  int64     `json:"count,omitempty" minimum:"1" maximum:"10"`
	On     bool      `json:"on,omitempty"`
	Colors []string  `json:"colors,omitempty" enum:"red,blue" minItems:"1" maxItems:"2" nullable:"false"`
	At     time.Time `json:"at,omitzero"`
	Part   widgetTip `json:"part,omitzero"`
}

type widgetTip struct {
	_     struct{} `additionalProperties:"false"`
	Depth int64    `json:"depth"`
}

// withWidgets is an API that reads widgets.
func withWidgets(t *testing.T) *API {
	t.Helper()
	a := setup(t, nil).api
	Register(a, huma.Operation{OperationID: "widget", Method: http.MethodPost, Path: "/widgets"}, nil,
		func(_ context.Context, in *struct {
			RawBody []byte `contentType:"application/json"`
		}) (Reply[widget], error) {
			w, err := ReadBody[widget](a, in.RawBody)
			return Reply[widget]{Data: w}, err
		})
	DescribeBody[widget](a, "/widgets")
	return a
}

func TestABodyIsReadAsItIsDocumented(t *testing.T) {
	t.Parallel()
	w, err := ReadBody[widget](withWidgets(t), []byte(` {"name":"ünïcö","token":"abc","count":10,"on":true,"colors":["red"],
		"at":"2026-11-22T10:00:00+02:00","part":{"depth":0}} `))
	if err != nil || w.Name != "ünïcö" || w.Token != "abc" || w.Count != 10 || !w.On || w.At.UTC().Hour() != 8 || !slices.Equal(w.Colors, []string{"red"}) {
		t.Errorf("%+v, %v", w, err)
	}
}

func TestEveryFaultOfABodyIsNamed(t *testing.T) {
	t.Parallel()
	a := withWidgets(t)
	for body, want := range map[string]string{
		``:                              " json",
		`{"name":"a"`:                   " json",
		`{"name":"a"}{}`:                " json",
		"{\"name\":\"\xff\"}":           " characters",
		`[]`:                            " type",
		`null`:                          " type",
		`{}`:                            "/name required",
		`{"name":null}`:                 "/name type",
		`{"Name":"a"}`:                  "/Name additionalProperties, /name required",
		`{"name":"a","name":"b"}`:       "/name duplicate",
		`{"name":""}`:                   "/name minLength",
		`{"name":"123456"}`:             "/name maxLength",
		`{"name":"\u0000"}`:             "/name characters",
		`{"name":"\ud800"}`:             "/name characters",
		`{"name":"\ufffd"}`:             "",
		`{"name":"a","token":"ab"}`:     "/token minLength",
		`{"name":"a","token":"a\r\nb"}`: "/token pattern",
		`{"name":"a","count":0}`:        "/count minimum",
		`{"name":"a","count":11}`:       "/count maximum",
		`{"name":"a","count":1.5}`:      "/count type",
		`{"name":"a","count":"1"}`:      "/count type",
		`{"name":"a","count":99999999999999999999}`:               "/count type",
		`{"name":"a","on":"yes"}`:                                 "/on type",
		`{"name":"a","colors":[]}`:                                "/colors minItems",
		`{"name":"a","colors":["red","red","blue"]}`:              "/colors maxItems",
		`{"name":"a","colors":["green",1]}`:                       "/colors/0 enum, /colors/1 type",
		`{"name":"a","colors":null}`:                              "/colors type",
		`{"name":"a","at":"2026-11-22T10:00:00"}`:                 "/at format",
		`{"name":"a","at":"tomorrow"}`:                            "/at format",
		`{"name":"a","part":{"depth":"x","y":[{"z":[1]}]}}`:       "/part/depth type, /part/y additionalProperties",
		`{"name":"a","part":{}}`:                                  "/part/depth required",
		`{"name":{"x":[1,{"y":2}]},"a/b~c":{"name":1},"count":0}`: "/name type, /a~1b~0c additionalProperties, /count minimum",
	} {
		_, err := ReadBody[widget](a, []byte(body))
		if got := faultsOf(err); got != want {
			t.Errorf("%s\n got %q\nwant %q", body, got, want)
		}
	}
}

func faultsOf(err error) string {
	var e *Error
	if !errors.As(err, &e) {
		return ""
	}
	var out []string
	for _, v := range e.Details.(Violations).Violations {
		out = append(out, v.Field+" "+v.Rule)
	}
	return strings.Join(out, ", ")
}

func TestAFaultDoesNotTellTheValue(t *testing.T) {
	t.Parallel()
	a := withWidgets(t)
	const secret = "hunter2-hunter2-hunter2-hunter2-hunter2-hunter2-hunter2"
	for _, body := range []string{
		`{"name":"%s"}`, `{"name":"a","token":" %s"}`, `{"name":"a","colors":["%s"]}`, `{"name":"a","at":"%s"}`, `{"name":["%s"]}`, `{"name":"a","%s":1}`, `"%s"`, `{"name":%s}`,
	} {
		_, err := ReadBody[widget](a, fmt.Appendf(nil, body, secret))
		shown, _ := json.Marshal(failure(t.Context(), err))
		if err == nil || strings.Contains(string(shown), secret) {
			t.Errorf("%s: %s", body, shown)
		}
	}
}

func TestTheFaultsOfAnAnswerAreBounded(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&b, `,"x%d":0`, i)
	}
	_, err := ReadBody[widget](withWidgets(t), []byte("{"+b.String()[1:]+"}"))
	if n := strings.Count(faultsOf(err), "additionalProperties"); n != maxViolations {
		t.Errorf("%d faults", n)
	}
}
