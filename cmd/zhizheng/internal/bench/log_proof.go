package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"zhizheng/evidence/chain"
	"zhizheng/internal/id"
)

// proofFile makes a receipt in a tree of a million leaves with three witnesses' cosignatures, and weighs it.
func (b *logBench) proofFile(context.Context) error {
	const leaves, at = 1_000_000, 123_456
	item := id.New()
	payload, err := chain.EncodePayload(chain.SealedPayload{
		EvidenceID: item, SHA256: sum("file"), Size: 350 << 20, Composite: sum("parts"), Parts: 70, ObjectKey: "evidence/510824101/2024/01/" + item,
		VersionID: "null", Check: "attested", RetainUntil: time.Now().AddDate(1, 0, 0).UnixMilli(), ManifestKey: "manifest/" + strings.Repeat("ab", 32),
		DeviceID: "D-0001", Township: "510824101",
	})
	if err != nil {
		return err
	}
	salt := sum("salt")
	leaf, err := chain.Leaf{Version: chain.Version, Kind: chain.KindSealed, Subject: chain.Subject{Type: chain.SubjectEvidence, ID: item}.Opaque(),
		Counter: 2, Prev: [32]byte(sum("prev")), TimeMS: time.Now().UnixMilli(), Commitment: chain.Commitment(salt, payload)}.Encode()
	if err != nil {
		return err
	}
	tiles, root, err := millionLeaves(leaves, at, chain.LeafHash(leaf))
	if err != nil {
		return err
	}
	proof, err := chain.ProveInclusion(at, leaves, root, tiles)
	if err != nil {
		return err
	}
	if err := chain.CheckInclusion(proof, at, leaves, root, chain.LeafHash(leaf)); err != nil {
		return err
	}
	signed, err := cosigned(chain.Checkpoint{Origin: "county.zhizheng.example/log", Size: leaves, Root: root})
	if err != nil {
		return err
	}
	whole, err := chain.Receipt{Disclosure: chain.Disclosure{Leaf: leaf, Salt: salt, Payload: payload}, Index: at, Proof: proof, Checkpoint: signed}.Marshal()
	if err != nil {
		return err
	}
	var bare []byte // the C2SP proof: the same file without the line that discloses
	for line := range bytes.Lines(whole) {
		if !bytes.HasPrefix(line, []byte("extra ")) {
			bare = append(bare, line...)
		}
	}
	figure("log: proof file at 1 M leaves with 3 cosignatures", float64(len(bare))/1000, "KB", "≤ 1.6")
	figure("log: the same with the sealed leaf, salt and payload it discloses", float64(len(whole))/1000, "KB", "-")
	return nil
}

func sum(s string) []byte {
	h := sha256.Sum256([]byte(s))
	return h[:]
}

// millionLeaves builds a tree in memory and gives its tiles.
func millionLeaves(n, at int64, leaf chain.Hash) (chain.Tiles, chain.Hash, error) {
	var edge chain.Edge
	level := make([]chain.Hash, n)
	for i := range level {
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], uint64(i))
		level[i] = chain.LeafHash(b[:])
		if int64(i) == at {
			level[i] = leaf
		}
		edge.Append(level[i])
	}
	levels := [][]chain.Hash{level}
	for len(level) >= chain.TileWidth {
		var above []chain.Hash
		for i := 0; i+chain.TileWidth <= len(level); i += chain.TileWidth {
			root, err := chain.TileRoot(chain.Join(level[i : i+chain.TileWidth]))
			if err != nil {
				return nil, chain.Hash{}, err
			}
			above = append(above, root)
		}
		levels, level = append(levels, above), above
	}
	return func(level int, idx int64, width int) ([]byte, error) {
		from := idx * chain.TileWidth
		return chain.Join(levels[level][from : from+int64(width)]), nil
	}, edge.Root(), nil
}

// cosigned signs a checkpoint as the log does, with three lines as witnesses write them (C2SP cosignature/v1: time and Ed25519).
func cosigned(c chain.Checkpoint) ([]byte, error) {
	key, _, err := note.GenerateKey(rand.Reader, c.Origin)
	if err != nil {
		return nil, err
	}
	s, err := note.NewSigner(key)
	if err != nil {
		return nil, err
	}
	signed, err := note.Sign(&note.Note{Text: c.Text()}, s)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"court.example/w", "procuratorate.example/w", "justice.example/w"} {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		const typ = 4 // of a cosignature's key
		hash := sha256.Sum256(append(append([]byte(name), '\n', typ), public...))
		at := time.Now().Unix()
		sig := ed25519.Sign(private, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, c.Text()))
		line := binary.BigEndian.AppendUint64(bytes.Clone(hash[:4]), uint64(at))
		signed = fmt.Appendf(signed, "— %s %s\n", name, base64.StdEncoding.EncodeToString(append(line, sig...)))
	}
	return signed, nil
}
