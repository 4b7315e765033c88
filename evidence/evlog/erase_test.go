package evlog_test

import (
	"strings"
	"testing"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/evlogtest"
	"zhizheng/internal/fault"
	"zhizheng/internal/testenv"
)

// Content that was erased is gone, and everything that was proven stays proven.
func TestErasedContentBreaksNoProof(t *testing.T) {
	pool := testenv.Pool(t)
	l := evlogtest.Log(t, pool)
	add(t, l, pool, viewed("a", "ev1", "u1"), viewed("b", "ev1", "u2"), viewed("c", "ev2", "u1"))
	before := receipt(t, l, "b")
	n, err := l.Erase(t.Context(), []int64{1, 2, 1}, "u9", "当事人申请，依个人信息保护法删除")
	if err != nil || n != 2 {
		t.Fatalf("%d %v", n, err)
	}
	v, err := chain.NewVerifier(l.VKey())
	if err != nil {
		t.Fatal(err)
	}
	if p, err := chain.VerifyReceipt(before, v); err != nil || p.Payload == nil {
		t.Errorf("an older receipt: %+v %v", p, err)
	}
	p, err := chain.VerifyReceipt(receipt(t, l, "b"), v)
	if err != nil || p.Payload != nil || p.Leaf.Kind != chain.KindViewed {
		t.Errorf("a new receipt: %+v %v", p, err)
	}
	if rep := sound(t, l); rep.Entries != 4 || rep.Erased != 2 {
		t.Errorf("%+v", rep)
	}
	// The same again changes nothing; a retry of the erased entry is still the same entry.
	if n, err := l.Erase(t.Context(), []int64{2, 1}, "u9", "当事人申请，依个人信息保护法删除"); err != nil || n != 0 {
		t.Errorf("%d %v", n, err)
	}
	add(t, l, pool, viewed("b", "ev1", "u2"))
	s, err := l.BySeq(t.Context(), []int64{3})
	if err != nil {
		t.Fatal(err)
	}
	said, err := chain.Payload[chain.ErasedPayload](s[0].Payload)
	if err != nil || len(said.Leaves) != 2 || said.Leaves[0] != 1 || said.Actor != "u9" {
		t.Errorf("%+v %v", said, err)
	}
	if rep := sound(t, l); rep.Entries != 4 {
		t.Errorf("%+v", rep)
	}
	for name, c := range map[string]struct {
		seqs   []int64
		reason string
		kind   fault.Kind
	}{
		"none": {nil, "r", fault.KindInvalid}, "no reason": {[]int64{0}, " ", fault.KindInvalid}, "not there": {[]int64{0, 99}, "r", fault.KindNotFound},
		"the statement itself": {[]int64{3}, "r", fault.KindInvalid}, "negative": {[]int64{-1}, "r", fault.KindNotFound},
	} {
		if _, err := l.Erase(t.Context(), c.seqs, "u", c.reason); !fault.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if rep := sound(t, l); rep.Erased != 2 {
		t.Errorf("%+v", rep)
	}
}

// The application's role deletes nothing but what a leaf says is erased; the audit finds what went otherwise.
func TestContentDoesNotGoWithoutAWord(t *testing.T) {
	url := testenv.DatabaseURL(t)
	pool := open(t, url)
	l := evlogtest.Log(t, pool)
	add(t, l, pool, viewed("a", "ev1", "u1"), viewed("b", "ev1", "u2"), viewed("c", "ev1", "u2"))
	if _, err := l.Erase(t.Context(), []int64{0}, "u", "r"); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		`delete from log_payload`, `truncate log_payload`, `select zz_erase('{1}')`, `select zz_erase('{0,1}')`, `select zz_erase('{}')`, `select zz_erase(null)`,
		`set role zhizheng_app; create function pg_temp.sha256(bytea) returns bytea language sql as 'select ''''::bytea'; select zz_erase('{1}')`,
		`create or replace function zz_erase(seqs bigint[]) returns bigint language sql as 'select 1::bigint'`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err == nil {
			t.Errorf("%s: allowed", sql)
		}
	}
	if rep := sound(t, l); rep.Erased != 1 {
		t.Fatalf("%+v", rep)
	}
	exec(t, owner(t, url), `delete from log_payload where seq = 1`)
	rep, err := l.Audit(t.Context())
	if err != nil || len(rep.Findings) != 1 || rep.Findings[0].Where != "leaf 1" || !strings.Contains(rep.Findings[0].What, "无删除记录") {
		t.Fatalf("%+v %v", rep.Findings, err)
	}
	// A statement whose own content was deleted names nothing any more.
	exec(t, owner(t, url), `delete from log_payload where seq = 3`)
	if rep, err = l.Audit(t.Context()); err != nil || len(rep.Findings) != 3 {
		t.Fatalf("%+v %v", rep.Findings, err)
	}
}
