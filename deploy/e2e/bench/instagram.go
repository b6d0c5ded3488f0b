package bench

import (
	"context"
	"fmt"
	"net/http"

	"postbus.dev/services/connectors/instagram"
)

// instagram measures a real connector whole: an image takes several calls and
// waits, which are a thousandth of what they are, against a stand-in that does
// as documented.
func (b *bench) instagram(ctx context.Context) error {
	n := b.sizes.instagram
	before, err := b.instagramCalls(ctx)
	if err != nil {
		return err
	}
	used, wrote, err := b.burst(ctx, n, b.stand.accounts[instagram.Name])
	if err != nil {
		return err
	}
	after, err := b.instagramCalls(ctx)
	if err != nil {
		return err
	}
	var posts struct{ Total int }
	if err := b.stand.ask(ctx, http.MethodGet, "/_sandbox/posts?limit=1", nil, &posts); err != nil {
		return err
	}
	if posts.Total != n {
		return fmt.Errorf("the provider has %d posts of %d publishes", posts.Total, n)
	}
	b.add(used, "instagram_per_s", "Instagram images/s, whole", "/s", float64(n)/used.elapsed.Seconds())
	b.add(used, "instagram_calls", "calls per Instagram image", "", float64(after-before)/float64(n))
	b.add(used, "instagram_commits", "commits per Instagram image", "", float64(wrote.commits)/float64(n))
	b.costs(used, "Instagram image", n)
	return nil
}

func (b *bench) instagramCalls(ctx context.Context) (int, error) {
	var calls struct{ Total int }
	err := b.stand.ask(ctx, http.MethodGet, "/_sandbox/calls?limit=1", nil, &calls)
	return calls.Total, err
}
