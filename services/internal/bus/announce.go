package bus

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/nats-io/nats.go/micro"
)

// Announcement is what a service says of itself to those who ask on NATS.
type Announcement struct {
	Name        string // the same in all processes of the service
	Description string // one line
	// Ready tells whether the process can work: what it returns is told as JSON,
	// and shows no secret. It returns when its context ends.
	Ready func(ctx context.Context) any
}

const (
	// readyLimit is how long an answer on whether the process is ready may take.
	readyLimit = 2 * time.Second
	// statsLimit is less: the nats CLI waits 300 ms after the first answer for
	// those of the other processes.
	statsLimit = 200 * time.Millisecond
)

// Announce makes the process one of a NATS micro service: `nats micro ls`, `ping`,
// `info` and `stats` find it, now and after each reconnect, until stop. Its one
// endpoint, ready, says what Ready says, and every process of the service answers.
// The statistics of the endpoint say that too, and what each consumer has to do.
func (b *Bus) Announce(ctx context.Context, a Announcement) (stop func(), err error) {
	ctx = context.WithoutCancel(ctx) // stop ends it
	ready := func(limit time.Duration) any {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		return a.Ready(ctx)
	}
	service, err := micro.AddService(b.nc, micro.Config{
		Name: a.Name, Version: version(), Description: a.Description,
		QueueGroupDisabled: true, // who asks wants to know of each process
		StatsHandler:       func(*micro.Endpoint) any { return stats{ready(statsLimit), b.consumers()} },
	})
	if err != nil {
		return nil, fmt.Errorf("announce service %s: %w", a.Name, err)
	}
	stop = func() {
		if err := service.Stop(); err != nil {
			b.log.Debug("end the announcement", "error", err)
		}
	}
	err = service.AddEndpoint("ready", micro.HandlerFunc(func(r micro.Request) {
		if err := r.RespondJSON(ready(readyLimit)); err != nil {
			b.log.Debug("tell whether the service is ready", "error", err)
		}
	}), micro.WithEndpointSubject("postbus."+a.Name+".ready"))
	if err != nil {
		stop()
		return nil, fmt.Errorf("announce service %s: %w", a.Name, err)
	}
	return stop, nil
}

// stats is what the statistics tell beside micro's own.
type stats struct {
	Ready     any                      `json:"ready"`
	Consumers map[string]consumerStats `json:"consumers"`
}

type consumerStats struct {
	InHand  int    `json:"inHand"`  // messages that this process works on
	Waiting uint64 `json:"waiting"` // behind the last one that came here
}

func (b *Bus) consumers() map[string]consumerStats {
	all := map[string]consumerStats{}
	b.loads(func(consumer string, l load) { all[consumer] = consumerStats{l.inHand, l.waiting} })
	return all
}

// version is that of the program, where Go knows it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return numbers(info.Main.Version)
	}
	return numbers("")
}

// numbers makes a version of Go one that NATS micro takes: three numbers, perhaps
// with more behind.
func numbers(version string) string {
	if v := strings.TrimPrefix(version, "v"); len(v) < len(version) {
		return v
	}
	return "0.0.0"
}
