package demo

import (
	"context"

	"zhizheng/authority"
	"zhizheng/cases"
	"zhizheng/evidence"
)

// ExhibitsDeps are what linking the demo's footage needs.
type ExhibitsDeps struct {
	Cases    *cases.Service
	Evidence *evidence.Keeper
}

// exhibits are clips of burning straw on the demo's card, by the end of their names. What was recorded between the two never arrived (sim.BeforeLost).
var exhibits = []struct{ file, purpose string }{
	{"_0040.mp4", "证明现场焚烧秸秆的事实（示例）"},
	{"_0044.mp4", "证明执法人员出示执法证、告知权利（示例）"},
}

// Exhibits links what the demo's recorder saw of burning straw to a running case of 东河镇 about it, once the footage is docked. A case that has exhibits
// already stays as it is. It answers how many were linked.
func Exhibits(ctx context.Context, d ExhibitsDeps) (int, error) {
	ctx = authority.WithActor(ctx, authority.System)
	straw, err := runningCase(ctx, d.Cases, "秸秆")
	if err != nil || straw == "" {
		return 0, err
	}
	f, err := d.Cases.Get(ctx, straw)
	if err != nil || len(f.Exhibits) > 0 {
		return 0, err
	}
	n := 0
	for _, x := range exhibits {
		clips, err := d.Evidence.List(ctx, evidence.Scope{Townships: []string{DongheCode}}, evidence.Filter{Status: evidence.StatusSealed, Query: x.file}, "", 1)
		if err != nil {
			return n, err
		}
		for _, c := range clips.Items {
			if _, err := d.Cases.Link(ctx, straw, string(c.ID), x.purpose); err != nil {
				return n, err
			}
			n++
		}
	}
	return n, nil
}
