package daemon

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/projectord/projectord/internal/testenv"
)

// pages are some of a program.
func pages() fstest.MapFS {
	return fstest.MapFS{
		"index.html":       {Data: []byte("<!doctype html><title>carts</title>")},
		"parts/carts.js":   {Data: []byte("let carts = 1")},
		"parts/of it.svg":  {Data: []byte("<svg/>")},
		"parts/unknown.xq": {Data: []byte("plain words")},
	}
}

// Pages of a program are answered at / as browsers need them, and leave everything else as
// it is without them.
func TestPages(t *testing.T) {
	t.Parallel()
	app := shopApp(1)
	app.Pages = pages()
	d := shop(t).as(app).serve().ready()
	for path, want := range map[string]struct{ file, kind string }{
		"/":                  {"index.html", "text/html; charset=utf-8"},
		"/index.html":        {"index.html", "text/html; charset=utf-8"},
		"/?ask=1":            {"index.html", "text/html; charset=utf-8"},
		"/parts/carts.js":    {"parts/carts.js", "text/javascript; charset=utf-8"},
		"/parts/of%20it.svg": {"parts/of it.svg", "image/svg+xml"},
		"/parts/unknown.xq":  {"parts/unknown.xq", "text/plain; charset=utf-8"},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			answer, text, err := d.send(d.request(method, path, ""))
			if err != nil {
				t.Fatal(err)
			}
			file := string(app.Pages.(fstest.MapFS)[want.file].Data)
			if length := int64(len(file)); answer.StatusCode != http.StatusOK || answer.ContentLength != length || method == "GET" && text != file || method == "HEAD" && text != "" {
				t.Errorf("%s %s: status %d, %d bytes: %q", method, path, answer.StatusCode, answer.ContentLength, text)
			}
			for name, value := range map[string]string{
				"Content-Type": want.kind, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
				"Content-Security-Policy": filesPolicy, "Referrer-Policy": "no-referrer", "Last-Modified": "", "Etag": "",
			} {
				if got := answer.Header.Get(name); got != value {
					t.Errorf("%s %s: %s is %q, want %q", method, path, name, got, value)
				}
			}
		}
	}
	for _, path := range []string{"/nothing", "/parts", "/parts/", "/parts/carts.js/", "/index.html/more", "/..%2fpages.go", "/parts%2f..%2findex.html", "/%2findex.html", "/api/v1/nothing", "/debug/pprof/"} {
		d.gives("GET", path, "", http.StatusNotFound, "there is nothing at", `"code": 5`)
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "BREW"} {
		d.gives(method, "/", "", http.StatusMethodNotAllowed, "/ is not for "+method+", but for GET, HEAD")
		d.gives(method, "/nothing", "", http.StatusNotFound)
	}
	d.gives("GET", "/api/v1/workers/one/drain", "", http.StatusMethodNotAllowed, "but for POST")
	d.gives("GET", "/api/v1/status", "", http.StatusOK, `"state": "built"`)
	d.gives("GET", "/healthz", "", http.StatusOK, "alive")
	testenv.Wait(t, waitLong, d.answers("GET", "/metrics", "", http.StatusOK,
		`projectord_http_requests_total{code="200",method="GET",route="/{file...}",store="`+d.namespace+`"} 6`,
		`projectord_http_requests_total{code="200",method="HEAD",route="/{file...}",store="`+d.namespace+`"} 6`))
	if _, text, _ := d.send(d.request("GET", "/metrics", "")); strings.Contains(text, "carts.js") {
		t.Error("the name of a file is a label")
	}
}

// Pages are guarded as all else is, but take no token, which a browser cannot show for them.
func TestPagesGuarded(t *testing.T) {
	t.Parallel()
	app := shopApp(1)
	app.Pages = pages()
	d := shop(t).as(app).with(env("http-token") + "=c4n4ry-t0ken").serve()
	for _, path := range []string{"/", "/parts/carts.js"} {
		d.gives("GET", path, "", http.StatusOK)
		d.altered("GET", path, "", func(r *http.Request) { r.Host = "evil.example" }, http.StatusMisdirectedRequest)
		d.altered("GET", path, "", func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, http.StatusForbidden)
		d.altered("GET", path, "", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, http.StatusForbidden)
		d.gives("POST", path, "", http.StatusUnauthorized)
	}
	for _, path := range []string{"/nothing", "/parts", "/metrics", "/api/v1/status", "/api/v1/openapi.yaml", "/api/v1/streams/cart-1/events"} {
		d.gives("GET", path, "", http.StatusUnauthorized, "http-token")
	}
}

// A link of another site leads to a page, and to nothing else.
func TestPagesLinked(t *testing.T) {
	t.Parallel()
	app := shopApp(1)
	app.Pages = pages()
	d := shop(t).as(app).serve().ready()
	fetched := func(site, mode, dest string) func(*http.Request) {
		return func(r *http.Request) {
			for name, value := range map[string]string{"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest} {
				r.Header.Set(name, value)
			}
		}
	}
	for _, site := range []string{"cross-site", "same-site"} {
		linked := fetched(site, "navigate", "document")
		for _, path := range []string{"/", "/?ask=1", "/parts/of%20it.svg"} {
			d.altered("GET", path, "", linked, http.StatusOK)
			d.altered("HEAD", path, "", linked, http.StatusOK)
			d.altered("GET", path, "", fetched(site, "navigate", "iframe"), http.StatusForbidden)
			d.altered("GET", path, "", fetched(site, "no-cors", "script"), http.StatusForbidden)
			d.altered("GET", path, "", fetched(site, "cors", "document"), http.StatusForbidden)
			d.altered("GET", path, "", func(r *http.Request) { linked(r); r.Host = "evil.example" }, http.StatusMisdirectedRequest)
			d.altered("GET", path, "", func(r *http.Request) { linked(r); r.Header.Set("Origin", "https://evil.example") }, http.StatusForbidden)
		}
		for _, path := range []string{"/api/v1/status", "/metrics", "/nothing", "/api/v1/openapi.yaml"} {
			d.altered("GET", path, "", linked, http.StatusForbidden)
		}
		d.altered("POST", "/", "", linked, http.StatusForbidden)
	}
}

// A file that the daemon's own routes would hide is found before anybody misses it.
func TestPagesInTheWay(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"api/v1/mine.html", "healthz", "readyz", "metrics", "debug/index.html"} {
		app := shopApp(1)
		app.Pages = fstest.MapFS{name: {Data: []byte("mine")}}
		first, _, _ := strings.Cut(name, "/")
		// Connecting would end with another code.
		bare(t, app).with(env("redis-url")+"=redis://127.0.0.1:1").want(exitUsage, words("run --http 127.0.0.1:0"), `have "`+first+`", where the daemon itself answers`)
	}
}

// broken is a file system whose files are there and cannot be read.
type broken struct{ fstest.MapFS }

func (b broken) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
}

// made is a file system with a file that is made when it is asked for.
type made struct{ fstest.MapFS }

func (m made) Stat(name string) (fs.FileInfo, error) {
	if name == "now.json" {
		name = "index.html" // of another length
	}
	return m.MapFS.Stat(name)
}

func (m made) ReadFile(name string) ([]byte, error) {
	if name == "now.json" {
		return []byte(`{"now": 1}`), nil
	}
	return m.MapFS.ReadFile(name)
}

// film is a file system of one large file, which notes how much of it is read at a time,
// and in all.
type film struct {
	fstest.MapFS
	most, all atomic.Int64
}

const filmSize = 8 << 20

func (f *film) Open(name string) (fs.File, error) {
	file, err := f.MapFS.Open(name)
	return &filmFile{File: file, of: f, left: filmSize}, err
}

func (f *film) ReadFile(name string) ([]byte, error) {
	return nil, fmt.Errorf("%s is read as a whole", name)
}

type filmFile struct {
	fs.File
	of   *film
	left int
}

type filmInfo struct{ fs.FileInfo }

func (filmInfo) Size() int64 { return filmSize }

func (f *filmFile) Stat() (fs.FileInfo, error) {
	info, err := f.File.Stat()
	return filmInfo{info}, err
}

func (f *filmFile) Read(b []byte) (int, error) {
	if f.left == 0 {
		return 0, io.EOF
	}
	n := min(f.left, len(b))
	f.left -= n
	f.of.most.Store(max(f.of.most.Load(), int64(len(b))))
	f.of.all.Add(int64(n))
	return n, nil
}

// A large file is never in memory as a whole, and nothing of it is read for its length.
func TestPagesAreNotReadWhole(t *testing.T) {
	t.Parallel()
	files := &film{MapFS: fstest.MapFS{"film.webm": {}, "film.xq": {}}}
	app := shopApp(1)
	app.Pages = files
	d := shop(t).as(app).serve()
	for path, peeked := range map[string]int64{"/film.webm": 0, "/film.xq": sniffed} {
		for method, read := range map[string]int64{"HEAD": peeked, "GET": filmSize} {
			files.all.Store(0)
			answer, text, err := d.send(d.request(method, path, ""))
			if err != nil {
				t.Fatal(err)
			}
			if method == "GET" && len(text) != filmSize || answer.ContentLength != filmSize || answer.StatusCode != http.StatusOK {
				t.Errorf("%s %s: status %d, %d of %d bytes", method, path, answer.StatusCode, len(text), answer.ContentLength)
			}
			if got := files.all.Load(); got != read {
				t.Errorf("%s %s read %d bytes, want %d", method, path, got, read)
			}
		}
	}
	if most := files.most.Load(); most > 64<<10 {
		t.Errorf("%d bytes were read at a time", most)
	}
}

// A file that cannot be read is an error, one may be made when it is asked for, and one in a directory changes without a restart.
func TestPagesOfOtherKinds(t *testing.T) {
	t.Parallel()
	app := shopApp(1)
	app.Pages = broken{pages()}
	shop(t).as(app).serve().gives("GET", "/", "", http.StatusInternalServerError, "open index.html: permission denied")

	app.Pages = made{pages()}
	now := shop(t).as(app).serve()
	now.gives("GET", "/now.json", "", http.StatusOK, `{"now": 1}`)
	now.gives("GET", "/", "", http.StatusOK, "<title>carts</title>")

	index := written(t, "index.html", "first")
	app.Pages = os.DirFS(filepath.Dir(index))
	d := shop(t).as(app).serve()
	d.gives("GET", "/", "", http.StatusOK, "first")
	if err := os.WriteFile(index, []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.gives("GET", "/", "", http.StatusOK, "second")
	if err := os.Remove(index); err != nil {
		t.Fatal(err)
	}
	d.gives("GET", "/", "", http.StatusNotFound, "there is nothing at /")
}

// unknowable is a file system that does not say what it has.
type unknowable struct {
	fs.FS
	stat func(name string) error
}

func (u unknowable) Stat(name string) (fs.FileInfo, error) { return nil, u.stat(name) }

// A look at files that fails is told as what it is, and one that panics is answered.
func TestPagesUnknowable(t *testing.T) {
	t.Parallel()
	app := shopApp(1)
	app.Pages = unknowable{pages(), func(name string) error {
		return &fs.PathError{Op: "stat", Path: name, Err: fs.ErrPermission}
	}}
	bare(t, app).with(env("redis-url")+"=redis://127.0.0.1:1").want(exitFailed, words("run --http 127.0.0.1:0"),
		"looking whether the pages of "+app.name()+" are in the way of the daemon's own: stat healthz: permission denied")

	app.Pages = unknowable{pages(), func(name string) error {
		if name == "index.html" {
			panic("no files today")
		}
		return fs.ErrNotExist
	}}
	d := shop(t).as(app).serve()
	d.gives("GET", "/", "", http.StatusInternalServerError, "a mistake of the daemon")
	d.gives("GET", "/healthz", "", http.StatusOK)
}

// dev prints the address of the page, where there is one.
func TestDevOfPages(t *testing.T) {
	t.Parallel()
	app := shopApp(1)
	app.Pages = pages()
	dev := devFixture(t, app).inBackground("dev", "--http", "127.0.0.1:0")
	dev.saying("In a browser: http://127.0.0.1:")
	_, rest, _ := strings.Cut(dev.out.String(), "In a browser: ")
	url, _, _ := strings.Cut(rest, "\n")
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(answer.Body); err != nil || !strings.Contains(text.String(), "<title>carts</title>") {
		t.Errorf("%s is answered with %s, %v", url, text.String(), err)
	}

	for name, files := range map[string]fs.FS{"without pages": nil, "without an index": fstest.MapFS{"a.html": {}}} {
		app.Pages = files
		dev := devFixture(t, app).inBackground("dev", "--http", "127.0.0.1:0")
		dev.saying("In a second terminal")
		if out := dev.out.String(); strings.Contains(out, "In a browser") {
			t.Errorf("%s it says: %s", name, out)
		}
	}
}
