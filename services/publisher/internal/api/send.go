package api

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"postbus.dev/events"
)

// snapshot sends the publish as it is, unless the caller knows it so.
func (s *stream) snapshot(p Publish) {
	if p.Version > s.version {
		data, err := json.Marshal(viewOf(p))
		if err != nil {
			s.over = true
			return
		}
		s.event(p.Version, "snapshot", data)
	}
	s.over = s.over || p.ended()
}

// pass sends an event. One that is older than what the caller knows was in a
// snapshot, or was overtaken on its way here.
func (s *stream) pass(e event.Event) {
	version := versionOf(e)
	if version <= s.version {
		return
	}
	s.event(version, e.Type(), e.Data())
	s.over = s.over || final(e.Type())
}

func versionOf(e event.Event) int64 {
	sequence, _ := e.Extensions()[events.ExtSequence].(string)
	n, err := strconv.ParseInt(sequence, 10, 64)
	if err != nil {
		return 0 // none of ours
	}
	return n
}

func (s *stream) event(version int64, name string, data []byte) {
	var line bytes.Buffer
	if json.Compact(&line, data) != nil { // a line break would end the field
		return
	}
	s.version = version
	s.send("id: " + strconv.FormatInt(version, 10) + "\nevent: " + name + "\ndata: " + line.String() + "\n\n")
}

// send gives the caller a time to take it: one who does not is let go.
func (s *stream) send(text string) {
	if s.over {
		return
	}
	_ = s.rc.SetWriteDeadline(time.Now().Add(writeLimit)) // not supported by a recorder in tests
	if _, err := io.WriteString(s.w, text); err != nil {
		s.over = true
		return
	}
	s.over = s.rc.Flush() != nil
}
