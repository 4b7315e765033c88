package bundle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"zhizheng/evidence/chain"
)

// Item is an exhibit to be exported.
type Item struct {
	Record
	Open func(ctx context.Context) (io.ReadCloser, error) // nil while the bytes have not arrived, or once they were deleted
}

// Input is what a bundle is made of.
type Input struct {
	CaseID string
	Case   any          // marshalled into case.json
	Index  []byte       // index.html
	VKey   string       // of the log, for people
	Policy chain.Policy // of the log's witnesses; without any there is no such member
	Items  []Item
	Proofs map[int64][]byte // receipts by index of the leaf
	Chains *Chains          // chain.json; see Tell. nil leaves it out
	Stamps map[int64][]byte // Consistency of timestamps, by index of the token's leaf
}

// Plan is a bundle whose every digest is known before its first byte is written, so that the export can be logged first.
type Plan struct {
	manifest []byte
	parts    []part
}

type part struct {
	Member
	text []byte
	open func(ctx context.Context) (io.ReadCloser, error)
}

// NewPlan lays out a bundle. It sets Member of the items' records.
func NewPlan(in Input) (*Plan, error) {
	p := &Plan{}
	records := make([]Record, len(in.Items))
	for i := range in.Items {
		it := &in.Items[i]
		it.Number = i + 1
		if it.Open != nil {
			it.Member = memberName(i+1, it.FileName)
		}
		records[i] = it.Record
	}
	for _, doc := range []struct {
		name string
		v    any
	}{{CaseName, in.Case}, {EvidenceName, records}} {
		if doc.name == CaseName {
			p.text(IndexName, in.Index)
		}
		b, err := encodeJSON(doc.v)
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", doc.name, err)
		}
		p.text(doc.name, b)
	}
	if in.Chains != nil {
		b, err := encodeJSON(in.Chains)
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", ChainName, err)
		}
		p.text(ChainName, b)
	}
	p.text(VKeyName, []byte(in.VKey+"\n"))
	// Optional members, each at its place: a reader takes the order from the manifest.
	if len(in.Policy.Witnesses) > 0 {
		p.text(WitnessName, []byte(in.Policy.Public().Text()))
	}
	for _, it := range in.Items {
		if it.Open != nil {
			p.parts = append(p.parts, part{Member: Member{it.Member, it.Size, it.SHA256}, open: it.Open})
		}
	}
	for _, index := range slices.Sorted(maps.Keys(in.Proofs)) {
		p.text(proofName(index), in.Proofs[index])
	}
	p.addStamps(in.Stamps)
	m := Manifest{Format: Format, CaseID: in.CaseID}
	for _, part := range p.parts {
		m.Members = append(m.Members, part.Member)
	}
	var err error
	p.manifest, err = encodeJSON(m)
	return p, err
}

func (p *Plan) text(name string, b []byte) {
	sum := sha256.Sum256(b)
	p.parts = append(p.parts, part{Member: Member{name, int64(len(b)), hex.EncodeToString(sum[:])}, text: b})
}

// Digest is the SHA-256 of MANIFEST.json, which the export's leaf commits to.
func (p *Plan) Digest() []byte {
	sum := sha256.Sum256(p.manifest)
	return sum[:]
}

// Last are the receipts that a bundle ends with: of the export's leaf, and by index of what the items' chains hold behind the leaves in
// Input.Proofs, each up to its own leaf of this export.
type Last struct {
	Export []byte
	Tails  map[int64][]byte
}

// Write streams the bundle. last is asked for at the end: its receipts may need a checkpoint yet to come.
// A file whose bytes are not the ones recorded ends the stream with an error: half a zip opens nowhere.
func (p *Plan) Write(ctx context.Context, w io.Writer, last func(context.Context) (Last, error)) error {
	z := &zipWriter{w: w}
	if err := z.text(ManifestName, p.manifest); err != nil {
		return err
	}
	for _, part := range p.parts {
		var err error
		if part.open == nil {
			err = z.text(part.Name, part.text)
		} else {
			err = z.file(ctx, part)
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", part.Name, err)
		}
	}
	l, err := last(ctx)
	if err != nil {
		return fmt.Errorf("receipt of the export: %w", err)
	}
	if err := z.text(ExportName, l.Export); err != nil {
		return err
	}
	for _, index := range slices.Sorted(maps.Keys(l.Tails)) {
		if err := z.text(tailName(index), l.Tails[index]); err != nil {
			return err
		}
	}
	return z.end()
}

// zipWriter writes the one encoding of layout.go.
type zipWriter struct {
	w       io.Writer
	pos     uint64
	entries []entry
}

func (z *zipWriter) write(b []byte) error {
	n, err := z.w.Write(b)
	z.pos += uint64(n)
	return err
}

func (z *zipWriter) text(name string, b []byte) error {
	e := entry{name: name, size: uint64(len(b)), crc: crc32.ChecksumIEEE(b), offset: z.pos}
	z.entries = append(z.entries, e)
	return z.write(append(e.header(), b...))
}

func (z *zipWriter) file(ctx context.Context, part part) error {
	body, err := part.open(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	e := entry{name: part.Name, size: uint64(part.Size), offset: z.pos, late: true}
	if err := z.write(e.header()); err != nil {
		return err
	}
	h, crc := sha256.New(), crc32.NewIEEE()
	n, err := io.Copy(io.MultiWriter(z.w, h, crc), body)
	if err != nil {
		return err
	}
	if n != part.Size || hex.EncodeToString(h.Sum(nil)) != part.SHA256 {
		return errors.New("the stored bytes are not the ones recorded")
	}
	z.pos += uint64(n)
	e.crc = crc.Sum32()
	z.entries = append(z.entries, e)
	return z.write(e.descriptor())
}

func (z *zipWriter) end() error {
	var b []byte
	for _, e := range z.entries {
		b = append(b, e.central()...)
	}
	return z.write(append(b, ending(len(z.entries), z.pos, uint64(len(b)))...))
}

// memberName keeps the card's own name where a zip can hold it on any system, behind the exhibit's number.
func memberName(number int, fileName string) string {
	base := path.Base(strings.ReplaceAll(fileName, `\`, "/"))
	base = strings.Map(func(r rune) rune {
		if r < 0x20 || strings.ContainsRune(`<>:"/\|?*`, r) || r == utf8.RuneError {
			return '_'
		}
		return r
	}, base)
	for len(base) > 160 { // Windows and zip tools trip over long names
		_, n := utf8.DecodeRuneInString(base)
		base = base[n:]
	}
	return fmt.Sprintf("%s%03d-%s", filesDir, number, strings.Trim(base, ". "))
}

// isFile says whether a member holds an exhibit's bytes.
func isFile(name string) bool { return strings.HasPrefix(name, filesDir) }

func proofName(index int64) string { return fmt.Sprintf("%s%012d%s", proofsDir, index, proofSuffix) }
