package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// What a Redis URL may begin with. The scheme says what kind of Redis it is; a double
// s stands for TLS in all of them.
const (
	clusterScheme  = "+cluster"
	sentinelScheme = "+sentinel"
)

var redisSchemes = []string{
	"redis", "rediss", "unix",
	"redis" + clusterScheme, "rediss" + clusterScheme,
	"redis" + sentinelScheme, "rediss" + sentinelScheme,
}

// secure reports whether a Redis URL asks for TLS.
func secure(url string) bool { return strings.HasPrefix(url, "rediss") }

// redisClient returns a client that leaves retries to those who know what is safe to
// repeat. Its pool has at least so many connections to a server, or as many as the
// client thinks fit where that is 0. A context's deadline bounds the wait for a reply,
// so that a server that hangs does not hold up who wants to leave.
func (s *settings) redisClient(connections int) (redis.UniversalClient, error) {
	trust, err := s.redisTLS()
	if err != nil {
		return nil, usage("%w", err)
	}
	scheme, rest, _ := strings.Cut(s.RedisURL, "://")
	plain, kind := scheme, ""
	for _, k := range []string{clusterScheme, sentinelScheme} {
		if before, found := strings.CutSuffix(scheme, k); found {
			plain, kind = before, k
		}
	}
	// The parsers repeat parts of the URL in their errors, perhaps a password.
	bad := usage("redis-url cannot be read: it is like redis://user:password@127.0.0.1:6379/0, with special characters percent-encoded; -h lists the other kinds")
	url := plain + "://" + rest
	switch kind {
	case clusterScheme:
		o, err := redis.ParseClusterURL(url)
		if err != nil {
			return nil, bad
		}
		o.MaxRetries, o.DisableIdentity, o.Protocol, o.ContextTimeoutEnabled = -1, true, 2, true
		o.PoolSize = max(o.PoolSize, connections)
		s.complete(&o.Username, &o.Password, &o.DialTimeout)
		joinTLS(o.TLSConfig, trust)
		return redis.NewClusterClient(o), nil
	case sentinelScheme:
		o, err := redis.ParseFailoverURL(url)
		if err != nil {
			return nil, bad
		}
		if o.MasterName == "" {
			return nil, usage("redis-url is of a Sentinel, and does not say of which master: ?master_name=NAME does")
		}
		o.MaxRetries, o.DisableIdentity, o.Protocol, o.ContextTimeoutEnabled = -1, true, 2, true
		o.PoolSize = max(o.PoolSize, connections)
		s.complete(&o.Username, &o.Password, &o.DialTimeout)
		joinTLS(o.TLSConfig, trust)
		return redis.NewFailoverClient(o), nil
	}
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, bad
	}
	o.MaxRetries, o.DisableIdentity, o.Protocol, o.ContextTimeoutEnabled = -1, true, 2, true
	o.PoolSize = max(o.PoolSize, connections)
	s.complete(&o.Username, &o.Password, &o.DialTimeout)
	joinTLS(o.TLSConfig, trust)
	return redis.NewClient(o), nil
}

// complete puts what has settings of its own in place of what the URL says.
func (s *settings) complete(username, password *string, dial *time.Duration) {
	if s.RedisUsername != "" {
		*username = s.RedisUsername
	}
	if s.RedisPassword != "" {
		*password = s.RedisPassword
	}
	*dial = s.ConnectTimeout
}

// redisTLS returns what the settings say about TLS.
func (s *settings) redisTLS() (*tls.Config, error) {
	c := new(tls.Config)
	if s.RedisCAFile != "" {
		pem, err := os.ReadFile(s.RedisCAFile)
		if err != nil {
			return nil, fmt.Errorf("redis-ca-file: %w", err)
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("redis-ca-file: %s holds no PEM certificate", s.RedisCAFile)
		}
	}
	if s.RedisCertFile != "" {
		pair, err := tls.LoadX509KeyPair(s.RedisCertFile, s.RedisKeyFile)
		if err != nil {
			return nil, fmt.Errorf("redis-cert-file, redis-key-file: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// joinTLS adds what the settings say to what the URL says, which knows the name of the
// server. It is nil without TLS.
func joinTLS(c, trust *tls.Config) {
	if c != nil {
		c.RootCAs, c.Certificates = trust.RootCAs, trust.Certificates
	}
}
