package bus

import (
	"math/rand/v2"
	"time"
)

// backoff is a pause that doubles with each try from min to max, then is
// shortened by up to half at random, so that a fleet does not come back as one.
type backoff struct{ min, max time.Duration }

// after is the pause after the given try, which counts from 1.
func (b backoff) after(try uint64) time.Duration {
	d := b.min
	for ; try > 1 && d < b.max; try-- {
		d *= 2
	}
	d = min(d, b.max)
	return d - rand.N(d/2+1)
}
