package limit

import (
	"context"
	"sync"
	"time"
)

// Ahead uses budgets without a commit for each use: it takes a tenth of what is
// left at a time and hands that out. So a fleet never passes a limit; what one
// process has taken and does not use in time nobody gets.
type Ahead struct {
	budgets *Budgets

	mu     sync.Mutex
	stocks map[string]*stock
}

// stock is what this process knows of one budget.
type stock struct {
	n     int64     // uses at hand
	until time.Time // they are forfeited
	none  time.Time // nothing more is to be had before
	left  int64     // beside what was at hand when it was taken
	reset time.Time // there is more then
	taken *taken    // being taken now; nil: nobody is
}

// taken is one trip to the database, for all that wait for it.
type taken struct {
	done chan struct{}
	err  error // set before done is closed
}

// A trip goes on when the caller that began it has gone away: others wait for it.
const tripLimit = 5 * time.Second

// manyStocks is when forfeited ones are thrown away.
const manyStocks = 10_000

// NewAhead returns an Ahead that has taken nothing.
func NewAhead(budgets *Budgets) *Ahead {
	return &Ahead{budgets: budgets, stocks: map[string]*stock{}}
}

// Use takes the uses that the asks name from all of their budgets, or from none
// where one of them has too few. The asks have a key each.
func (a *Ahead) Use(ctx context.Context, asks []Ask) ([]Decision, error) {
	for {
		ds, short, others := a.try(asks, time.Now())
		switch {
		case ds != nil:
			return ds, nil
		case len(short) > 0:
			if err := a.take(ctx, short); err != nil {
				return nil, err
			}
		default:
			select {
			case <-others.done:
				if others.err != nil {
					return nil, others.err
				}
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
}

// try decides by what is at hand. Where that does not do it returns the asks
// whose budgets the caller is to take from, or else the trip to wait for.
func (a *Ahead) try(asks []Ask, now time.Time) (ds []Decision, short []Ask, others *taken) {
	a.mu.Lock()
	defer a.mu.Unlock()
	refused := false
	for _, ask := range asks {
		s := a.stock(ask.Key, now)
		switch {
		case s.n >= ask.N:
		case now.Before(s.none):
			refused = true
		case s.taken != nil:
			others = s.taken
		default:
			short = append(short, ask)
		}
	}
	switch {
	case refused:
		return a.decide(asks, now, false), nil, nil
	case others == nil && len(short) == 0:
		return a.decide(asks, now, true), nil, nil
	case others != nil:
		return nil, nil, others
	}
	trip := &taken{done: make(chan struct{})}
	for _, ask := range short {
		a.stocks[ask.Key].taken = trip
	}
	return nil, short, nil
}

func (a *Ahead) stock(key string, now time.Time) *stock {
	s := a.stocks[key]
	if s == nil {
		s = &stock{}
		a.stocks[key] = s
	}
	if !now.Before(s.until) {
		s.n = 0
	}
	return s
}

// decide uses what is at hand if all asks can be served.
func (a *Ahead) decide(asks []Ask, now time.Time, use bool) []Decision {
	ds := make([]Decision, len(asks))
	for i, ask := range asks {
		s := a.stocks[ask.Key]
		ds[i].Allowed = s.n >= ask.N
		if use {
			s.n -= ask.N
		}
		ds[i].Remaining, ds[i].Reset = s.n+s.left, max(s.reset.Sub(now), 0)
	}
	return ds
}

// take fetches what is short, and tells whoever waits for it.
func (a *Ahead) take(ctx context.Context, short []Ask) error {
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), tripLimit)
	defer cancel()
	shares, err := a.budgets.TakeTenths(own, short)
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	trip := a.stocks[short[0].Key].taken
	for i, ask := range short {
		s := a.stocks[ask.Key]
		s.taken = nil
		if err == nil {
			s.add(shares[i], now)
		}
	}
	if len(a.stocks) > manyStocks {
		a.forget(now)
	}
	trip.err = err
	close(trip.done)
	return err
}

func (s *stock) add(share Share, now time.Time) {
	s.left, s.reset = share.Left, now.Add(share.Reset)
	if share.N == 0 {
		s.none = now.Add(max(share.Reset, 100*time.Millisecond))
		return
	}
	if !now.Before(s.until) || share.Until.Before(s.until) {
		s.until = share.Until
	}
	s.n += share.N
}

// forget throws away what says nothing any more.
func (a *Ahead) forget(now time.Time) {
	for key, s := range a.stocks {
		if s.taken == nil && !now.Before(s.until) && !now.Before(s.none) {
			delete(a.stocks, key)
		}
	}
}
