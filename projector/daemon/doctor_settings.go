package daemon

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
)

var settingsChecks = []check{
	{name: "tls", needs: needsNothing, worst: isWarning, run: lookAtTLS,
		looks: "whether a password goes over the network in the clear",
		fix:   "`rediss://`, `sslmode=verify-full`"},
	{name: "secret-files", needs: needsNothing, worst: isWarning, run: lookAtSecretFiles,
		looks: "whether others on this machine may read files with passwords or keys, or the file of settings where it holds a password",
		fix:   "`chmod 600`"},
	{name: "secret-flags", needs: needsNothing, worst: isWarning, run: lookAtSecretFlags,
		looks: "whether a password was given by a flag, as part of a URL, where the list of processes shows it; a daemon says the same in its log",
		fix:   "`PROJECTORD_REDIS_PASSWORD_FILE`, `PROJECTORD_POSTGRES_PASSWORD_FILE`"},
}

// loopback reports whether a host is this machine.
func loopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "" || host == "localhost" || strings.HasPrefix(host, "/") || ip != nil && ip.IsLoopback()
}

func lookAtTLS(_ context.Context, p *patient) (found []finding, _ error) {
	u, err := url.Parse(p.RedisURL)
	if err != nil {
		return nil, nil // the client was refused before
	}
	_, has := u.User.Password()
	hosts := append([]string{u.Host}, u.Query()["addr"]...)
	for _, host := range hosts {
		if (has || p.RedisPassword != "") && !secure(p.RedisURL) && u.Scheme != "unix" && !loopback(host) {
			found = append(found, finding{Severity: isWarning, Subject: "redis " + host, Finding: "the password and all events go over the network in the clear", Evidence: p.where("redis-url") + " begins with " + u.Scheme + "://, and a password is given",
				Fix: fmt.Sprintf("have the server listen with tls-port, and begin redis-url with %s://; redis-ca-file names the certificate of its authority", strings.Replace(u.Scheme, "redis", "rediss", 1))})
		}
	}
	if p.pool == nil {
		return found, nil
	}
	c := p.pool.Config().ConnConfig
	clear := c.TLSConfig == nil
	for _, other := range c.Fallbacks {
		clear = clear || other.TLSConfig == nil
	}
	if c.Password != "" && clear && !loopback(c.Host) {
		found = append(found, finding{Severity: isWarning, Subject: "postgres " + p.postgresAddress(), Finding: "the connection may be made without TLS: whoever is between can read and change what goes over it", Evidence: "sslmode in " + p.where("postgres-url") + " is not require, verify-ca or verify-full, and a password is given",
			Fix: "add sslmode=verify-full to postgres-url, and sslrootcert=FILE where its authority is not one of the system; ssl = on in postgresql.conf"})
	}
	return found, nil
}

// secretFiles returns the files that secrets are in, with what each is.
func (p *patient) secretFiles() map[string]string {
	files := make(map[string]string)
	for _, s := range p.table() {
		_, isURL := s.into.(urlValue)
		if !s.secret || len(secretsOf(s.into.text(), isURL)) == 0 || s.into.text() == "" {
			continue
		}
		from := p.from[s.name]
		if from == p.file && p.file != "" {
			files[p.file] = "settings, and " + s.name + " in it"
			continue
		}
		// One that was read from a file of its own has that behind where it was named.
		for _, named := range []string{p.file, "--" + s.name + fileSuffix, env(s.name + fileSuffix)} {
			if file, found := strings.CutPrefix(from, named+" "); named != "" && found {
				files[file] = s.name
			}
		}
	}
	if p.RedisKeyFile != "" {
		files[p.RedisKeyFile] = "the key of redis-cert-file"
	}
	return files
}

func lookAtSecretFlags(_ context.Context, p *patient) (found []finding, _ error) {
	for _, name := range p.inFlags() {
		found = append(found, finding{Severity: isWarning, Subject: "--" + name, Finding: "the list of processes shows the password in it to everybody on this machine", Evidence: "it is given by a flag",
			Fix: unexposed(name) + "; and leave it out of the URL. Then change the password, if others are on this machine"})
	}
	return found, nil
}

// unexposed says how else the password in a URL is given.
func unexposed(name string) string {
	return "give the password by " + env(strings.TrimSuffix(name, "-url")+"-password"+fileSuffix)
}

// forOthers are the rights that no file with a secret should give: those of a group are
// left alone, because that is how a daemon is given what somebody else owns.
const forOthers = 0o007

func lookAtSecretFiles(_ context.Context, p *patient) (found []finding, _ error) {
	files := p.secretFiles()
	for _, file := range slices.Sorted(maps.Keys(files)) {
		stat, err := os.Stat(file)
		if err != nil {
			return found, err
		}
		if mode := stat.Mode().Perm(); mode&forOthers != 0 {
			found = append(found, finding{Severity: isWarning, Subject: "file " + file, Finding: "everybody on this machine may read or change it, and it holds " + files[file], Evidence: fmt.Sprintf("mode = %04o", mode),
				Fix: fmt.Sprintf("chmod 600 %s; where it comes from a Kubernetes secret: defaultMode: 0400. Then change the password, if others are on this machine", file)})
		}
	}
	return found, nil
}
