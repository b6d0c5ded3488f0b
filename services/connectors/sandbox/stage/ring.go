package stage

// ring keeps the newest n values and counts all of them.
type ring[T any] struct {
	keep  int
	items []T
	total int64 // ever added; the newest has number total
}

func (r *ring[T]) add(v T) {
	if len(r.items) < r.keep {
		r.items = append(r.items, v)
	} else {
		r.items[r.total%int64(r.keep)] = v
	}
	r.total++
}

// each calls f with what is kept, oldest first, until it returns false.
func (r *ring[T]) each(f func(T) bool) {
	first := r.total - int64(len(r.items))
	for n := first; n < r.total; n++ {
		if !f(r.items[n%int64(r.keep)]) {
			return
		}
	}
}

// clear forgets everything.
func (r *ring[T]) clear() { *r = ring[T]{keep: r.keep} }
