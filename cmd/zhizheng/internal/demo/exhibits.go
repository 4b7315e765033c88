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

// Exhibits links the first sealed clips of 东河镇 to one of its running cases, once the footage is docked. A case that has exhibits
// already stays as it is. It answers how many were linked.
func Exhibits(ctx context.Context, d ExhibitsDeps) (int, error) {
	ctx = authority.WithActor(ctx, authority.System)
	open := true
	page, _, _, err := d.Cases.List(ctx, cases.Filter{Township: DongheCode, Open: &open, Stage: cases.Investigation, Q: "秸秆", Limit: 1})
	if err != nil || len(page) == 0 || page[0].EvidenceCount > 0 {
		return 0, err
	}
	clips, err := d.Evidence.List(ctx, evidence.Scope{Townships: []string{DongheCode}}, evidence.Filter{Status: evidence.StatusSealed, Query: ".mp4"}, "", 2)
	if err != nil {
		return 0, err
	}
	for i, c := range clips.Items {
		purpose := []string{"证明现场焚烧秸秆的事实（示例）", "证明执法人员出示执法证、告知权利（示例）"}[i]
		if _, err := d.Cases.Link(ctx, page[0].ID, string(c.ID), purpose); err != nil {
			return i, err
		}
	}
	return len(clips.Items), nil
}
