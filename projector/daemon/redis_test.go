package daemon

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
)

// The scheme of the URL says what kind of Redis it is, and settings of their own count
// before what stands in the URL.
func TestRedisURL(t *testing.T) {
	t.Parallel()
	client := func(s settings) redis.UniversalClient {
		t.Helper()
		c, err := s.redisClient(77)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	single := client(settings{RedisURL: "rediss://ann:old@h:6380/3", RedisPassword: "new", ConnectTimeout: time.Minute}).(*redis.Client).Options()
	if single.Addr != "h:6380" || single.DB != 3 || single.Username != "ann" || single.Password != "new" || single.TLSConfig == nil ||
		single.TLSConfig.ServerName != "h" || single.PoolSize < 77 || single.DialTimeout != time.Minute || single.MaxRetries != 0 {
		t.Errorf("a single one: %+v", single)
	}
	cluster := client(settings{RedisURL: "redis+cluster://:pw@a:1?addr=b:2", RedisUsername: "bob"}).(*redis.ClusterClient).Options()
	if strings.Join(cluster.Addrs, " ") != "a:1 b:2" || cluster.Username != "bob" || cluster.Password != "pw" || cluster.TLSConfig != nil {
		t.Errorf("a cluster: %+v", cluster)
	}
	if secure := client(settings{RedisURL: "rediss+cluster://a:1"}).(*redis.ClusterClient).Options(); secure.TLSConfig == nil {
		t.Error("a cluster with TLS has none")
	}
	client(settings{RedisURL: "redis+sentinel://s:26379/0?master_name=events"})
	if _, err := (&settings{RedisURL: "redis+sentinel://s:26379"}).redisClient(0); exitCode(err) != exitUsage {
		t.Errorf("a Sentinel without the name of a master: %v", err)
	}
}

// What a cluster can do without the code, it does.
func TestCluster(t *testing.T) {
	t.Parallel()
	testenv.Cluster(t)
	var urls []string
	for _, url := range testenv.ClusterURLs(t) {
		urls = append(urls, strings.TrimPrefix(strings.TrimSuffix(url, "/"), "redis://"))
	}
	f := bare(t, App{Name: "projectord"}).with(env("redis-url") + "=redis+cluster://" + urls[0] + "?addr=" + urls[1])
	f.want(exitDone, words("streams append cart-1 --type added"))
	f.want(exitDone, words("streams append order-2 --type added"))
	f.wantValue(2, exitDone, "streams ls", "total")
	f.want(exitDone, words("streams show order-2"), "order-2@1")
	f.want(exitDone, words("status"), "0 workers")
	f.with(env("redis-url")+"=redis://"+urls[0]).want(exitFailed, words("streams ls"), "this is a Redis Cluster: connect to it as one")
}

// The Redis is spoken to by TLS with certificates of one's own on both sides, and a
// password that comes from a file.
func TestTLS(t *testing.T) {
	t.Parallel()
	files := selfSigned(t)
	server := testenv.StartRedis(t, "--requirepass", "opensesame")
	secure := behindTLS(t, server.Addr(), files)
	f := &fixture{T: t, app: App{Name: "projectord"}, environ: []string{
		env("redis-url") + "=rediss://" + secure, env("redis-password") + "_FILE=" + written(t, "password", "opensesame\n"),
		env("redis-ca-file") + "=" + files.cert, env("redis-cert-file") + "=" + files.cert, env("redis-key-file") + "=" + files.key,
	}}
	f.want(exitDone, words("streams append cart-1 --type added"), "cart-1@1")
	f.with(env("redis-password")+"_FILE="+written(t, "password", "wrong")).want(exitFailed, words("status"), "check the user and the password")
	f.with(env("redis-ca-file")+"=").want(exitFailed, words("status"), "certificate")
	f.with(env("redis-ca-file")+"="+written(t, "ca.pem", "nothing")).want(exitUsage, words("status"), "holds no PEM certificate")
	f.with(env("redis-key-file")+"="+files.cert).want(exitUsage, words("config validate"), "redis-cert-file, redis-key-file: ")
}

// behindTLS has a server be reached by TLS, by those who show its own certificate. It
// returns the address.
func behindTLS(t *testing.T, addr string, files certFiles) string {
	pair, err := tls.LoadX509KeyPair(files.cert, files.key)
	if err != nil {
		t.Fatal(err)
	}
	known := x509.NewCertPool()
	text, err := os.ReadFile(files.cert)
	if err != nil || !known.AppendCertsFromPEM(text) {
		t.Fatal("the certificate cannot be read back", err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: known, ClientAuth: tls.RequireAndVerifyClientCert})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	pass := func(from net.Conn) {
		defer from.Close()
		to, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		defer to.Close()
		go func() {
			defer to.Close()
			io.Copy(to, from)
		}()
		io.Copy(from, to)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go pass(conn)
		}
	}()
	return listener.Addr().String()
}

// certFiles are the files of a certificate and its key.
type certFiles struct{ cert, key string }

// selfSigned writes a certificate for 127.0.0.1 that signs itself, and its key.
func selfSigned(t *testing.T) (files certFiles) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files.cert, files.key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{files.cert: {Type: "CERTIFICATE", Bytes: cert}, files.key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}
