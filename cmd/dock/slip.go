package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// A docking slip (归还回单) is what an officer takes home: which files of the recorder are in the log, under which page. It is a signed note
// (C2SP) of the station's own key, so anybody with the station's certificate can check it; the receipts prove the same of the log.

// county is where the slip is read.
var county = time.FixedZone("+08:00", 8*3600)

// slipText is the slip's body: one fact a line, then a line a file.
func slipText(st self, d *docking, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "执证归还回单 v1\n采集站 %s %s\n工位 %d\n记录仪 %s\n", st.ID, oneLine(st.Name), d.slot, oneLine(orUnknown(d.recorder)))
	fmt.Fprintf(&b, "人员 %s\n插入 %s\n开具 %s\n", orUnknown(d.officer), d.since.In(county).Format(time.RFC3339), now.In(county).Format(time.RFC3339))
	n := 0
	var lines strings.Builder
	for _, f := range d.files {
		if f.SHA256 == "" {
			fmt.Fprintf(&lines, "未入册 %d %s\n", f.Size, oneLine(f.Name))
			continue
		}
		state := "已入册"
		if f.fine && f.Leaf > 0 {
			state = fmt.Sprintf("已封存 册页%d", f.Leaf)
		}
		n++
		fmt.Fprintf(&lines, "%s %s %d %s %s\n", state, f.SHA256, f.Size, f.Evidence, oneLine(f.Name))
	}
	fmt.Fprintf(&b, "文件 %d 已入册 %d\n", len(d.files), n)
	for _, g := range d.gaps {
		fmt.Fprintf(&b, "推断缺失 %d–%d %s\n", g.First, g.Last, oneLine(orUnknown(g.Reason)))
	}
	return b.String() + lines.String()
}

func orUnknown(s string) string {
	if s == "" {
		return "未说明"
	}
	return s
}

// oneLine keeps a name from writing lines of its own.
func oneLine(s string) string { return printable(s) }

// signSlip makes the note. The key's name is the station's id.
func signSlip(text, station string, key ed25519.PrivateKey) (signed []byte, digest string, err error) {
	name := "station/" + strings.Map(func(r rune) rune {
		if r == ' ' || r == '+' || r < ' ' {
			return '_'
		}
		return r
	}, station)
	pub := append([]byte{1}, key.Public().(ed25519.PublicKey)...) // algorithm 1: Ed25519
	sum := sha256.Sum256(bytes.Join([][]byte{[]byte(name + "\n"), pub}, nil))
	hash := binary.BigEndian.Uint32(sum[:])
	secret := fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", name, hash, base64.StdEncoding.EncodeToString(append([]byte{1}, key.Seed()...)))
	signer, err := note.NewSigner(secret)
	if err != nil {
		return nil, "", fmt.Errorf("sign slip: %w", err)
	}
	if signed, err = note.Sign(&note.Note{Text: text}, signer); err != nil {
		return nil, "", fmt.Errorf("sign slip: %w", err)
	}
	d := sha256.Sum256(signed)
	return signed, hex.EncodeToString(d[:]), nil
}
