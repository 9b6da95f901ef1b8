package main

import (
	"context"
	"embed"
	"encoding/json"
	"io/fs"
	"time"

	"github.com/projectord/projectord/examples/notifications/provider"
)

//go:embed page
var files embed.FS

// pages are what a browser is shown: index.html, and what the provider counts, which the
// page may ask this daemon alone for.
type pages struct {
	fs.FS
	to *provider.Client
}

// countsFile is made anew whenever it is read.
const countsFile = "channels.json"

// countsWithin is how long the provider may take to say what it counts.
const countsWithin = 2 * time.Second

// counted is what is in it.
type counted struct {
	Channels []provider.Counts   `json:"channels"`
	Last     []provider.Delivery `json:"last"`
	Error    string              `json:"error,omitempty"`
}

func newPages(to *provider.Client) fs.FS {
	page, err := fs.Sub(files, "page")
	if err != nil {
		panic(err) // page is the name of a directory
	}
	return pages{page, to}
}

// Stat implements [fs.StatFS]. All there is to be known of the counts is that they are a
// file, as the page is.
func (p pages) Stat(name string) (fs.FileInfo, error) {
	if name == countsFile {
		name = "index.html"
	}
	return fs.Stat(p.FS, name)
}

// ReadFile implements [fs.ReadFileFS].
func (p pages) ReadFile(name string) ([]byte, error) {
	if name != countsFile {
		return fs.ReadFile(p.FS, name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), countsWithin)
	defer cancel()
	c := counted{Channels: []provider.Counts{}, Last: []provider.Delivery{}}
	channels, err := p.to.Counts(ctx)
	if err == nil {
		c.Channels = channels
		c.Last, err = p.to.Last(ctx)
	}
	if err != nil {
		c.Error = atProvider(p.to, err).Error()
	}
	return json.Marshal(c)
}
