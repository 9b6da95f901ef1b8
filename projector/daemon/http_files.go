package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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

// sniffed is how much of a file tells what it is, where its name does not.
const sniffed = 512

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
// other routes begin like them, or where that cannot be found out.
func (v *server) checkFiles() error {
	for _, r := range v.routes {
		name, _, _ := strings.Cut(strings.TrimPrefix(r.pattern, "/"), "/")
		if v.app.Pages == nil || r.file {
			continue
		}
		switch _, err := fs.Stat(v.app.Pages, name); {
		case err == nil:
			return usage("the pages of %s have %q, where the daemon itself answers: give that another name", v.app.name(), name)
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("looking whether the pages of %s are in the way of the daemon's own: %w", v.app.name(), err)
		}
	}
	return nil
}

// showFile answers with a file of the program, always the whole. It is copied as the client
// reads it: many that read slowly take no more memory than their connections, but for files
// that are made when they are asked for.
func (v *server) showFile(w http.ResponseWriter, r *http.Request) {
	name := fileName(r.URL.Path)
	file, size, err := v.openFile(name)
	if err != nil {
		v.fail(w, r, err)
		return
	}
	defer file.Close()
	text, kind := io.Reader(file), mime.TypeByExtension(path.Ext(name))
	if kind == "" {
		begins := make([]byte, sniffed)
		n, err := io.ReadFull(file, begins)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			v.fail(w, r, err)
			return
		}
		kind = http.DetectContentType(begins[:n])
		text = io.MultiReader(bytes.NewReader(begins[:n]), file)
	}
	for header, value := range map[string]string{
		"Content-Type": kind, "Content-Length": strconv.FormatInt(size, 10),
		"Content-Security-Policy": filesPolicy, "Referrer-Policy": "no-referrer",
	} {
		w.Header().Set(header, value)
	}
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	// Where it ends early the server breaks the connection, so that half a file does not
	// look like one.
	if _, err := io.CopyN(w, text, size); err != nil {
		v.logger.DebugContext(r.Context(), "http: a file was not answered as a whole", "method", r.Method, "path", r.URL.Path, "reason", err)
	}
}

// openFile opens a file of the program, and says how long it is. One that is not there to be
// opened, but to be read, is made when it is asked for.
func (v *server) openFile(name string) (io.ReadCloser, int64, error) {
	file, err := v.app.Pages.Open(name)
	if made, ok := v.app.Pages.(fs.ReadFileFS); ok && errors.Is(err, fs.ErrNotExist) {
		text, err := made.ReadFile(name)
		return io.NopCloser(bytes.NewReader(text)), int64(len(text)), err
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return nil, 0, err
	}
	return file, info.Size(), nil
}
