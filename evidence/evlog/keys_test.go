package evlog_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/signer"
)

// While the log runs its key is replaced: checkpoints carry both signatures, holders of either key accept them, the log says what
// happened, and everything that was signed before stays in order.
func TestLogFollowsItsKeys(t *testing.T) {
	s := newSite(t)
	s.close()
	sg, err := signer.Open(t.Context(), s.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	l, err := evlog.New(s.reopenPool(), evlog.Options{Signer: sg, Store: s.store, Minute: 1, Retain: 60e9})
	if err != nil {
		t.Fatal(err)
	}
	s.log = l
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	s.grows(3)
	s.copies(3)
	first := l.VKey()
	older := receipt(t, l, "k1")
	old, err := chain.NewVerifier(first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sg.Rotate(t.Context(), signer.Change{Actor: "u1", Reason: "到期"}, nil); err != nil {
		t.Fatal(err)
	}
	s.grows(2) // publishes with both
	if err := evlog.WatchKeys(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if err := evlog.Publish(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	s.copies(7) // and two statements about keys
	_, _, vkeys := get(t, srv.URL+"/log/vkey")
	both, err := chain.ParseKeys(vkeys)
	if err != nil || len(both.Trusted()) != 2 || !strings.HasPrefix(vkeys, first) || l.VKey() == first {
		t.Fatalf("%q %v", vkeys, err)
	}
	text := receipt(t, l, "k4")
	if _, err := chain.VerifyReceipt(text, both); err != nil {
		t.Error(err)
	}
	if _, err := chain.VerifyReceipt(text, chain.KeysOf(old).Lenient()); err != nil {
		t.Error(err)
	}
	if _, err := chain.VerifyReceipt(text, old); err != nil { // the receipt carries the other key, so its line is checked and not passed over
		t.Error(err)
	}
	signed, err := l.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chain.OpenCheckpoint(signed, old); err == nil {
		t.Error("strict, a line of an unknown key was passed over")
	}
	sound(t, l)
	if _, err := sg.Retire(t.Context(), signer.Change{Actor: "u1", Reason: "已公布"}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // and again: it is said once
		if err := evlog.WatchKeys(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	if err := evlog.Publish(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	now, err := chain.NewVerifier(l.VKey())
	if err != nil || len(l.VKeys()) != 1 {
		t.Fatal(err)
	}
	if _, err := chain.VerifyReceipt(receipt(t, l, "k4"), now); err != nil {
		t.Error(err)
	}
	if _, err := chain.VerifyReceipt(older, old); err != nil {
		t.Errorf("what the retired key signed: %v", err)
	}
	leaves, err := l.SubjectLeaves(t.Context(), chain.Subject{Type: chain.SubjectPlatform, ID: "log"})
	if err != nil || len(leaves) != 3 {
		t.Fatalf("%d statements %v", len(leaves), err)
	}
	for i, want := range []chain.LogKeyPayload{
		{New: first, Act: "added", Actor: "system"}, {Old: first, New: l.VKey(), Act: "added", Actor: "u1", Reason: "到期"},
		{Old: first, New: first, Act: "retired", Actor: "u1", Reason: "已公布"},
	} {
		if got, err := chain.Payload[chain.LogKeyPayload](leaves[i].Payload); err != nil || got != want {
			t.Errorf("statement %d: %+v %v", i, got, err)
		}
	}
	// A restart knows all keys, also those that signed older checkpoints and the copy.
	s.reopen()
	if h := s.log.Halted(); h != "" {
		t.Fatal(h)
	}
	sound(t, s.log)
	s.grows(1)
	s.copies(9)
}

// Another signer in the place of the log's own halts it.
func TestAnotherSignersKeys(t *testing.T) {
	s := newSite(t)
	s.close()
	one, err := signer.Open(t.Context(), t.TempDir(), "a.test")
	if err != nil {
		t.Fatal(err)
	}
	other, err := signer.Open(t.Context(), t.TempDir(), "a.test")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	sw := &switching{Signer: one}
	if s.log, err = evlog.New(s.reopenPool(), evlog.Options{Signer: sw}); err != nil {
		t.Fatal(err)
	}
	s.grows(1)
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	sw.Signer = other
	defer func() { sw.Signer = signer.Observe("") }()
	add(t, s.log, s.pool, viewed("x", "ev", "u"))
	if err := evlog.Publish(t.Context(), s.log); err == nil {
		t.Error("published by another signer")
	}
	s.halted("换成别的密钥")
}

type switching struct{ evlog.Signer }
