package daemon

import (
	"errors"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// filesPolicy has a browser run what a page has in it, and ask nobody but this server.
const filesPolicy = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; " +
	"img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// fileName returns the name of the file that a path is for.
func fileName(of string) string {
	if of == "/" {
		return "index.html"
	}
	return strings.TrimPrefix(of, "/")
}

// hasFile reports whether the program has a file for a path.
func (v *server) hasFile(of string) bool {
	name := fileName(of)
	if v.app.Pages == nil || !fs.ValidPath(name) {
		return false
	}
	info, err := fs.Stat(v.app.Pages, name)
	return err == nil && info.Mode().IsRegular()
}

// checkFiles returns an error where the program has files that nobody would see, because
// other routes begin like them.
func (v *server) checkFiles() error {
	for _, r := range v.routes {
		name, _, _ := strings.Cut(strings.TrimPrefix(r.pattern, "/"), "/")
		if v.app.Pages == nil || r.file {
			continue
		}
		if _, err := fs.Stat(v.app.Pages, name); !errors.Is(err, fs.ErrNotExist) {
			return usage("the pages of %s have %q, where the daemon itself answers: give that another name", v.app.name(), name)
		}
	}
	return nil
}

// showFile answers with a file of the program, always the whole: a page is small.
func (v *server) showFile(w http.ResponseWriter, r *http.Request) {
	name := fileName(r.URL.Path)
	text, err := fs.ReadFile(v.app.Pages, name)
	if err != nil {
		v.fail(w, r, err)
		return
	}
	kind := mime.TypeByExtension(path.Ext(name))
	if kind == "" {
		kind = http.DetectContentType(text)
	}
	for header, value := range map[string]string{
		"Content-Type": kind, "Content-Length": strconv.Itoa(len(text)),
		"Content-Security-Policy": filesPolicy, "Referrer-Policy": "no-referrer",
	} {
		w.Header().Set(header, value)
	}
	_, _ = w.Write(text) // where that fails the client is gone
}
