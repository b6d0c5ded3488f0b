package api

import (
	"fmt"
	"slices"
	"sync"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"postbus.dev/events"
)

// Finals is where events are seen as they pass, without storage. The bus is.
type Finals interface {
	Subscribe(subject string, f func(event.Event)) (stop func(), err error)
	OnReconnect(f func())
}

// waiters wakes the requests that wait for a publish. An event is only a hint to
// look: what the publish came to is read from its row. Events that pass while
// the bus is away are missed, so that everybody looks when it is back.
type waiters struct {
	mu    sync.Mutex
	by    map[uuid.UUID][]*waiter
	stops []func()
}

// waiter is one request that waits. Its channel holds one hint.
type waiter struct {
	id   uuid.UUID
	hint chan struct{}
	// passed has the events themselves, for a stream; nil for a request that waits
	// for the end alone. Nobody waits for a stream: what finds no room in it
	// becomes a hint.
	passed chan event.Event
}

func (w *waiter) wake() {
	select {
	case w.hint <- struct{}{}:
	default: // it has not looked since the last hint
	}
}

func (w *waiter) see(e event.Event, final bool) {
	select {
	case w.passed <- e: // never, where that is nil
	default:
		if final || w.passed != nil {
			w.wake()
		}
	}
}

// watch subscribes to the events of publishes, once for the process.
func watch(finals Finals) (*waiters, error) {
	ws := &waiters{by: map[uuid.UUID][]*waiter{}}
	finals.OnReconnect(ws.wakeAll)
	endings := []string{events.TypePublishCompleted, events.TypePublishFailed, events.TypePublishCanceled, events.TypePublishUnconfirmed}
	for _, subject := range append(endings, events.TypePublishScheduled, events.TypePublishDelayed) {
		final := slices.Contains(endings, subject)
		stop, err := finals.Subscribe(subject, func(e event.Event) { ws.seen(e, final) })
		if err != nil {
			ws.close()
			return nil, fmt.Errorf("watch %s: %w", subject, err)
		}
		ws.stops = append(ws.stops, stop)
	}
	return ws, nil
}

// seen handles an event whose subject is the id of a publish.
func (ws *waiters) seen(e event.Event, final bool) {
	id, err := uuid.Parse(e.Subject())
	if err != nil {
		return
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.by[id] {
		w.see(e, final)
	}
}

func (ws *waiters) wakeAll() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, list := range ws.by {
		for _, w := range list {
			w.wake()
		}
	}
}

// add must come before the publish can end.
func (ws *waiters) add(id uuid.UUID) *waiter { return ws.enter(&waiter{id: id}) }

// follow is add for one who wants to see each event.
func (ws *waiters) follow(id uuid.UUID) *waiter {
	const room = 16
	return ws.enter(&waiter{id: id, passed: make(chan event.Event, room)})
}

func (ws *waiters) enter(w *waiter) *waiter {
	w.hint = make(chan struct{}, 1)
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.by[w.id] = append(ws.by[w.id], w)
	return w
}

func (ws *waiters) remove(w *waiter) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	list := slices.DeleteFunc(ws.by[w.id], func(other *waiter) bool { return other == w })
	if len(list) == 0 {
		delete(ws.by, w.id)
		return
	}
	ws.by[w.id] = list
}

func (ws *waiters) close() {
	for _, stop := range ws.stops {
		stop()
	}
	ws.stops = nil
}
