package sandbox

import (
	"postbus.dev/services/connectors/sandbox/instagram"
	"postbus.dev/services/connectors/sandbox/onlyfans"
	"postbus.dev/services/connectors/sandbox/reddit"
	"postbus.dev/services/connectors/sandbox/stage"
	"postbus.dev/services/connectors/sandbox/tiktok"
)

// providers is the list of stand-ins: one line each.
func providers(st *stage.Stage, p Profile) []stage.Provider {
	hostile := p == Hostile
	return []stage.Provider{
		instagram.New(st, instagram.For(hostile)),
		tiktok.New(st, tiktok.For(hostile)),
		reddit.New(st, reddit.For(hostile)),
		onlyfans.New(st, onlyfans.For(hostile)),
	}
}
