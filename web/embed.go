// Package web holds the built console, so that the server is one file. `make build` fills dist/.
package web

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

// FS is the root of the console's files.
func FS() fs.FS {
	sub, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // dist is a constant of the embed directive
	}
	return sub
}
