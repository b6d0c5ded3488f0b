package api

import (
	"fmt"
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
}

func (w *waiter) wake() {
	select {
	case w.hint <- struct{}{}:
	default: // it has not looked since the last hint
	}
}

// watch subscribes to the events that end a wait, once for the process.
func watch(finals Finals) (*waiters, error) {
	ws := &waiters{by: map[uuid.UUID][]*waiter{}}
	finals.OnReconnect(ws.wakeAll)
	for _, subject := range []string{
		events.TypePublishCompleted, events.TypePublishFailed, events.TypePublishCanceled, events.TypePublishUnconfirmed,
	} {
		stop, err := finals.Subscribe(subject, ws.seen)
		if err != nil {
			ws.close()
			return nil, fmt.Errorf("watch %s: %w", subject, err)
		}
		ws.stops = append(ws.stops, stop)
	}
	return ws, nil
}

// seen handles an event whose subject is the id of a publish.
func (ws *waiters) seen(e event.Event) {
	id, err := uuid.Parse(e.Subject())
	if err != nil {
		return
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.by[id] {
		w.wake()
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
func (ws *waiters) add(id uuid.UUID) *waiter {
	w := &waiter{id: id, hint: make(chan struct{}, 1)}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.by[id] = append(ws.by[id], w)
	return w
}

func (ws *waiters) remove(w *waiter) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	list := ws.by[w.id]
	for i, other := range list {
		if other == w {
			list = append(list[:i], list[i+1:]...)
			break
		}
	}
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
