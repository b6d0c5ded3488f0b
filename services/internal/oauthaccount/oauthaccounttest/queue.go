package oauthaccounttest

import (
	"container/heap"
	"time"

	"github.com/google/uuid"
)

// queue is the index of what is due at a provider. An entry whose account is due
// at another time by now is left in it until it comes to the front.
type queue []entry

type entry struct {
	at time.Time
	id uuid.UUID
}

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, k int) bool { return q[i].at.Before(q[k].at) }
func (q queue) Swap(i, k int)      { q[i], q[k] = q[k], q[i] }

// Push and Pop are for package heap.
func (q *queue) Push(x any) { *q = append(*q, x.(entry)) }

// Pop takes the last entry.
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	*q = (*q)[:last]
	return e
}

func (q *queue) push(e entry) { heap.Push(q, e) }

// pop takes the entry of the earliest time, if that has come.
func (q *queue) pop(now time.Time) (e entry, ok bool) {
	if len(*q) == 0 || (*q)[0].at.After(now) {
		return entry{}, false
	}
	return heap.Pop(q).(entry), true
}
