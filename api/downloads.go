package api

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/gin-gonic/gin"

	"zhizheng/internal/fault"
)

// verifiers are the offline verifier's builds, as they lie beside the server's own binary.
var verifiers = []struct{ file, system string }{{"zhizheng-verify", "linux"}, {"zhizheng-verify.exe", "windows"}}

// Tool is a build of the verifier that can be downloaded.
type Tool struct {
	File, System, SHA256 string
	Size                 int64
}

// Tools hands out the verifier's builds found in a folder. They are digested once, when first asked for.
type Tools struct {
	Dir  string
	once sync.Once
	all  []Tool
	err  error
}

// List gives the builds that are there.
func (t *Tools) List() ([]Tool, error) {
	t.once.Do(func() {
		for _, v := range verifiers {
			tool, err := digestOf(filepath.Join(t.Dir, v.file))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			t.err = errors.Join(t.err, err)
			tool.File, tool.System = v.file, v.system
			t.all = append(t.all, tool)
		}
	})
	return t.all, t.err
}

func digestOf(path string) (Tool, error) {
	f, err := os.Open(path)
	if err != nil {
		return Tool{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return Tool{Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}, err
}

// download serves a build to anyone: who checks a bundle needs no account.
func (s *Server) download(c *gin.Context) error {
	name := c.Param("file")
	var all []Tool
	if s.Tools != nil {
		var err error
		if all, err = s.Tools.List(); err != nil {
			return fmt.Errorf("read the verifier's builds: %w", err)
		}
	}
	if name == "SHA256SUMS" {
		var b strings.Builder
		for _, t := range all {
			fmt.Fprintf(&b, "%s  %s\n", t.SHA256, t.File)
		}
		c.Data(http.StatusOK, "text/plain; charset=utf-8", []byte(b.String()))
		return nil
	}
	for _, t := range all {
		if t.File == name {
			c.Header("Content-Type", "application/octet-stream")
			c.Header("Content-Disposition", `attachment; filename="`+t.File+`"`)
			http.ServeFile(c.Writer, c.Request, filepath.Join(s.Tools.Dir, t.File))
			return nil
		}
	}
	return fault.NotFound("没有这个校验工具的构建")
}
