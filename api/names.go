package api

import (
	"context"

	"zhizheng/ingest/manifest"
	"zhizheng/internal/fault"
)

// TestNamePatterns tells what names would be understood to say.
func (s *Server) TestNamePatterns(_ context.Context, r TestNamePatternsRequestObject) (TestNamePatternsResponseObject, error) {
	names := s.Names
	if config := val(r.Body.Config); config != "" {
		var err error
		if names, err = manifest.ReadNames([]byte(config)); err != nil {
			return nil, fault.Invalid("文件名规则不能使用：%s", err)
		}
	}
	out := TestNamePatterns200JSONResponse{Items: make([]NameReading, len(r.Body.Names))}
	for i, name := range r.Body.Names {
		u, ok := names.Understand(name)
		v := NameReading{Name: name, Matched: ok, Sidecar: names.Sidecar(name), Rule: ptr(u.Rule), Recorder: ptr(u.Recorder), Officer: ptr(u.Officer), Time: u.Time,
			Series: ptr(u.Series)}
		if u.Sequence != nil {
			v.Sequence = new(int64(*u.Sequence))
		}
		out.Items[i] = v
	}
	return out, nil
}
