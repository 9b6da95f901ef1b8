package daemon

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// checkAccess checks what requests are held against: a token that no header can show would
// lock everybody out, and a host that no request names lets nobody in.
func (s *settings) checkAccess() error {
	if strings.ContainsFunc(s.HTTPToken, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return errors.New("http-token has spaces, line breaks or control characters in it, which the header of a request cannot show: it is one word")
	}
	for _, name := range s.HTTPHosts {
		if ip, err := netip.ParseAddr(name); err == nil && ip.Zone() == "" {
			continue
		}
		if name == "" || strings.ContainsAny(name, ":/[]@*?# \t") {
			return fmt.Errorf("http-hosts has %q, which no request can name: it is a name or an address alone, without scheme, port or brackets, like projector.internal or 10.0.0.7", clip(name, 100))
		}
	}
	return nil
}

// guard returns why a request is not answered. A browser that is misled, by a name that
// resolves to this machine or by a page of somebody else, stops here. What is public takes
// no token, and a link may lead to it.
func (v *server) guard(r *http.Request, public bool) error {
	if !v.ours(r) {
		return refused(http.StatusMisdirectedRequest, "the host %q is not one of this daemon: the setting http-hosts names those it may be called by", hostOf(r.Host))
	}
	for _, origin := range r.Header.Values("Origin") {
		if !sameHost(origin, r.Host) {
			return refused(http.StatusForbidden, "requests of other origins are not answered, and this one is of %q", clip(origin, 100))
		}
	}
	// A page that follows a link or asks for an image sends no Origin. Other ports are of
	// the same site, and are of others all the same.
	switch site := r.Header.Get("Sec-Fetch-Site"); site {
	case "", "same-origin", "none":
	default:
		if public && ledTo(r) {
			break
		}
		return refused(http.StatusForbidden, "requests of other origins are not answered, and this one is %s", clip(site, 100))
	}
	if !public && !v.shown(r.Header.Get("Authorization")) {
		err := refused(http.StatusUnauthorized, "the token is missing or wrong: the header is Authorization: Bearer TOKEN, with that of the setting http-token")
		err.header = http.Header{"Www-Authenticate": {"Bearer"}}
		return err
	}
	return nil
}

// ledTo reports whether a browser asks to show the answer as a document of its own, which
// whoever led it there cannot look into.
func ledTo(r *http.Request) bool {
	return r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

// ours reports whether a request names a host that this daemon may be called by.
func (v *server) ours(r *http.Request) bool {
	host := hostOf(r.Host)
	if host == "localhost" || host != "" && host == strings.ToLower(hostname(v.HTTP)) {
		return true
	}
	if slices.ContainsFunc(v.HTTPHosts, func(name string) bool { return strings.EqualFold(name, host) }) {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	ip = ip.Unmap()
	if ip.IsLoopback() {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && local.AddrPort().Addr().Unmap().WithZone("") == ip.WithZone("")
}

// hostOf returns a host without its port, in lower case.
func hostOf(hostport string) string {
	u := url.URL{Host: hostport}
	return strings.ToLower(u.Hostname())
}

// sameHost reports whether an origin is this host itself. A proxy may have spoken TLS.
func sameHost(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && strings.EqualFold(u.Host, host) &&
		u.User == nil && u.Path == "" && u.RawQuery == "" && u.Fragment == ""
}

// shown reports whether a header shows the token, where there is one. How long the answer
// takes does not tell how much of it is right.
func (v *server) shown(authorization string) bool {
	if v.token == nil {
		return true
	}
	scheme, token, _ := strings.Cut(authorization, " ")
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return subtle.ConstantTimeCompare(sum[:], v.token[:]) == 1 && strings.EqualFold(scheme, "Bearer")
}
