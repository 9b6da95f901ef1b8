package deploy

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// A release is static, knows its version, has a bill of its materials and their licences,
// and comes out the same again.
func TestRelease(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the program twice")
	}
	first, second := release(t), release(t)
	if bytes.Equal(first.sums, nil) || !bytes.Equal(first.sums, second.sums) {
		t.Errorf("the checksums differ:\n%s\n%s", first.sums, second.sums)
	}
	for line := range strings.Lines(string(first.sums)) {
		fields := strings.Fields(line)
		if sum := sha256.Sum256(read(t, filepath.Join(first.dir, fields[1]))); fields[0] != hex.EncodeToString(sum[:]) {
			t.Errorf("%s has another checksum", fields[1])
		}
	}
	out, err := exec.Command(first.program, "version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "projectord v9.8.7 (") {
		t.Errorf("%v: %s", err, out)
	}
	if runtime.GOOS == "linux" {
		wantStatic(t, first.program)
	}
	if here, err := os.Getwd(); err != nil || bytes.Contains(read(t, first.program), []byte(filepath.Dir(here)+"/")) {
		t.Errorf("the program names the directory it was built in (%v)", err)
	}
	wantBill(t, first)
	wantLicences(t, first)
}

// released is what a release has left.
type released struct {
	dir, program string
	sums         []byte
}

func release(t *testing.T) released {
	t.Helper()
	r := released{dir: t.TempDir()}
	platform := runtime.GOOS + "/" + runtime.GOARCH
	run := exec.Command("make", "release", "VERSION=v9.8.7", "PLATFORMS="+platform, "DIST="+r.dir)
	run.Dir = ".."
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	r.program = filepath.Join(r.dir, "projectord-v9.8.7-"+strings.ReplaceAll(platform, "/", "-"))
	r.sums = read(t, filepath.Join(r.dir, "SHA256SUMS"))
	return r
}

// wantStatic checks that a program asks for no loader and no library.
func wantStatic(t *testing.T, program string) {
	t.Helper()
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("%s is linked dynamically", program)
		}
	}
}

// wantBill checks the bill of materials against what go version -m says.
func wantBill(t *testing.T, r released) {
	t.Helper()
	var bill struct {
		BOMFormat, SpecVersion string
		Metadata               struct {
			Component struct {
				Hashes []struct{ Alg, Content string }
			}
		}
		Components []struct{ Name, Version, PURL string }
	}
	if err := json.Unmarshal(read(t, r.program+".cdx.json"), &bill); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(read(t, r.program))
	if h := bill.Metadata.Component.Hashes; bill.BOMFormat != "CycloneDX" || len(h) != 1 || h[0].Content != hex.EncodeToString(sum[:]) {
		t.Errorf("the bill is a %s %s of a program with the hashes %v", bill.BOMFormat, bill.SpecVersion, h)
	}
	told := r.modules(t)
	told["std"] = strings.TrimPrefix(runtime.Version(), "go")
	for _, c := range bill.Components {
		if told[c.Name] != c.Version || !strings.HasPrefix(c.PURL, "pkg:golang/") || !strings.HasSuffix(c.PURL, "@"+c.Version) {
			t.Errorf("the bill has %+v, go version -m %s", c, told[c.Name])
		}
		delete(told, c.Name)
	}
	for name := range told {
		t.Errorf("the bill lacks %s", name)
	}
}

// modules returns what go version -m says is linked into the program: versions by paths.
func (r released) modules(t *testing.T) map[string]string {
	t.Helper()
	out, err := exec.Command("go", "version", "-m", r.program).Output()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[0] == "dep" {
			all[fields[1]] = fields[2]
		}
	}
	return all
}

// wantLicences checks that the licence is there, and those of all that is linked.
func wantLicences(t *testing.T, r released) {
	t.Helper()
	if !bytes.Equal(read(t, filepath.Join(r.dir, "LICENSE")), read(t, "../LICENSE")) {
		t.Error("the LICENSE is another")
	}
	texts := string(read(t, filepath.Join(r.dir, "THIRD-PARTY-LICENSES.txt")))
	wanted := []string{"\nGo, with its standard library: LICENSE\n"}
	for path, version := range r.modules(t) {
		wanted = append(wanted, "\n"+path+" "+version+": LICEN")
	}
	for _, name := range wanted {
		if !strings.Contains(texts, name) {
			t.Errorf("the licences lack %q", strings.TrimSpace(name))
		}
	}
	for _, name := range []string{"LICENSE", "THIRD-PARTY-LICENSES.txt"} {
		if !bytes.Contains(r.sums, []byte("  "+name+"\n")) {
			t.Errorf("the checksums lack %s", name)
		}
	}
}

// A program that has no licence of its own is one thing, one without those of its modules
// another: that is an error.
func TestLicensesMissing(t *testing.T) {
	dir := t.TempDir()
	for path, text := range map[string]string{
		"go.mod":      "module example.com/program\n\ngo 1.26\n\nrequire example.com/part v1.0.0\n\nreplace example.com/part => ./part\n",
		"main.go":     "package main\n\nimport _ \"example.com/part\"\n\nfunc main() {}\n",
		"part/go.mod": "module example.com/part\n\ngo 1.26\n", "part/part.go": "package part\n", "part/NOTICE": "Part\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	licenses := filepath.Join(t.TempDir(), "licenses")
	run := func(in string, name string, args ...string) (string, error) {
		cmd := exec.Command(name, args...)
		cmd.Dir = in
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, build := range []struct{ in, out, pkg string }{{"..", licenses, "./scripts/licenses"}, {dir, "program", "."}} {
		if out, err := run(build.in, "go", "build", "-o", build.out, build.pkg); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if out, err := run(dir, licenses, "program"); err == nil || !strings.Contains(out, "example.com/part v1.0.0 => ./part has no licence") {
		t.Errorf("%v: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "part", "LICENSE.md"), []byte("Do as you like.\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if out, err := run(dir, licenses, "program"); err != nil || !strings.Contains(out, ": LICENSE.md\n\nDo as you like.\n") || !strings.Contains(out, "part: NOTICE\n\nPart\n") {
		t.Errorf("%v: %s", err, out)
	}
}
