package main

import (
	"github.com/projectord/projectord/eventstore"
)

// category is that of users: each is a stream, user-7.
const category = "user"

// The types of events.
const (
	newFollower   = "new_follower"
	productUpdate = "product_update"
)

// What a [ProductUpdate] may be about.
const (
	feature  = "feature"
	security = "security"
)

// NewFollower is that somebody follows the user now.
type NewFollower struct {
	Message string `msgpack:"message"`
}

// ProductUpdate is that there is something new, or something to be mended at once.
type ProductUpdate struct {
	Type    string `msgpack:"type"` // feature or security
	Message string `msgpack:"message"`
}

// newRegistry returns what knows these events.
func newRegistry() *eventstore.Registry {
	events := eventstore.NewRegistry()
	eventstore.Register[NewFollower](events, newFollower, 1)
	eventstore.Register[ProductUpdate](events, productUpdate, 1)
	return events
}
