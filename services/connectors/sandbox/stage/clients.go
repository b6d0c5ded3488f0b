package stage

import (
	"cmp"
	"errors"
	"slices"
	"sync"
)

// Client is an app as its developer registered it at a provider.
type Client struct {
	Provider     string   `json:"provider"`
	ID           string   `json:"id"`
	Secret       string   `json:"secret"`
	RedirectURIs []string `json:"redirectUris"` // a redirect_uri has to equal one of them
	// Where the provider calls when a person removes the app, or asks that what
	// it knows of them be deleted; "": nowhere.
	DeauthorizeURL string `json:"deauthorizeUrl,omitempty"`
	DeletionURL    string `json:"deletionUrl,omitempty"`
}

// Clients holds the apps of all stand-ins.
type Clients struct {
	mu   sync.Mutex
	list []Client
}

// Put adds a client, or replaces the one with its id.
func (c *Clients) Put(client Client) error {
	if client.Provider == "" || client.ID == "" || client.Secret == "" {
		return errors.New("a client needs a provider, an id and a secret")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	at := slices.IndexFunc(c.list, func(old Client) bool { return old.Provider == client.Provider && old.ID == client.ID })
	if at < 0 {
		c.list = append(c.list, client)
	} else {
		c.list[at] = client
	}
	return nil
}

// List returns the clients at a provider, or all, in the order of their making.
func (c *Clients) List(provider string) []Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := []Client{}
	for _, client := range c.list {
		if cmp.Or(provider, client.Provider) == client.Provider {
			found = append(found, client)
		}
	}
	return found
}

// Get finds a client by its id; with "" the first one of the provider.
func (c *Clients) Get(provider, id string) (Client, bool) {
	for _, client := range c.List(provider) {
		if cmp.Or(id, client.ID) == client.ID {
			return client, true
		}
	}
	return Client{}, false
}

// Caller is a Provider that calls us by itself when a person removes our app.
type Caller interface {
	// Call does what the person does ("deauthorize": removes the app, "deletion":
	// asks for deletion besides) and calls the client as the provider would; with
	// client "" the first one.
	Call(kind, account, client string) ([]Called, error)
}

// Called is one call to a client and what came of it.
type Called struct {
	URL    string `json:"url"`
	Status int    `json:"status"` // 0: no answer
	Error  string `json:"error,omitempty"`
	// StatusURL and Code are what a deletion request was answered with.
	StatusURL string `json:"statusUrl,omitempty"`
	Code      string `json:"code,omitempty"`
}
