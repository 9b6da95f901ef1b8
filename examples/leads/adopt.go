package main

import (
	"context"
	"time"

	"github.com/projectord/projectord/projector/adopt"
	"github.com/projectord/projectord/projector/daemon"
)

// sources are the streams that other programs write.
func sources(context.Context, *daemon.Backends) ([]adopt.Source, error) {
	crm := adopt.Fields{Category: "lead", ID: "lead_id", TypeField: "event_type", Numbers: []string{"amount"}}
	sensors := adopt.Fields{Category: "room", ID: "location", Type: "reading", Numbers: []string{"temperature", "humidity"}}
	return []adopt.Source{
		{Name: "crm", Keys: []string{"leads"}, Decode: crm.Decode},
		{Name: "sensors", Pattern: "sensor_readings*", Discover: time.Second, Decode: sensors.Decode},
	}, nil
}
