package servers

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// Servers get ports below those from which systems serve outgoing connections
// (32768 and up), so that a server that is down for a moment finds its port still
// free. The same holds for the second port a Redis Cluster node opens 10000 higher.
const (
	firstPort = 12000
	lastPort  = 22000
)

// ports are those handed out by this process, which some server may be about to use.
var ports struct {
	sync.Mutex
	taken map[int]bool
}

// freePort returns a port of 127.0.0.1 on which no one listens. Another process
// may take it before the caller does, so a server that finds it in use tries another.
func freePort() (int, error) {
	ports.Lock()
	defer ports.Unlock()
	if ports.taken == nil {
		ports.taken = make(map[int]bool)
	}
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if ports.taken[port] {
			continue
		}
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		listener.Close()
		ports.taken[port] = true
		return port, nil
	}
	return 0, fmt.Errorf("servers: no free port from %d to %d", firstPort, lastPort)
}
