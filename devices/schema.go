package devices

import (
	"embed"
	"path"
)

//go:embed schemas/*.json
var schemas embed.FS

// Schema gives a JSON Schema (2020-12) of what devices say and hear; index.json lists them. They refer to each other by file name.
func Schema(name string) ([]byte, bool) {
	b, err := schemas.ReadFile(path.Join("schemas", path.Base(name)))
	return b, err == nil
}
