package bench

import "time"

// sizes is how much one round measures.
type sizes struct {
	accounts  int           // of the one-call provider
	publishes int           // in the stream before the publisher may take the first
	commits   time.Duration // for each number of clients
	calls     time.Duration // for each way to call
	rate      int           // requests a second of the latency measurement
	latency   time.Duration // for how long
	events    int           // in the outbox before the relay may see the first
	instagram int           // whole Instagram posts
	igUsers   int           // over so many accounts
}

// fullSizes are those of a measurement.
func fullSizes() sizes {
	return sizes{
		accounts: 10_000, publishes: 20_000, commits: 2 * time.Second, calls: 3 * time.Second,
		rate: 30, latency: 15 * time.Second, events: 50_000, instagram: 3_000, igUsers: 1_000,
	}
}

// shortSizes show that everything works.
func shortSizes() sizes {
	return sizes{
		accounts: 100, publishes: 400, commits: 100 * time.Millisecond, calls: 100 * time.Millisecond,
		rate: 30, latency: time.Second, events: 1_200, instagram: 20, igUsers: 10,
	}
}
