package transcript

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"runtime"
	"sync"

	"zhizheng/evidence/chain"
)

// page is an entry bundle on its way: first what depends on its leaves alone, on all processors, then, in order, what depends on those
// before. Pages are used again, so that no leaf costs an allocation.
type page struct {
	idx   int64
	width int
	name  string

	body   []byte
	hashes [chain.TileWidth]chain.Hash
	leaves [chain.TileWidth]chain.Leaf // version 0: it is none
	n      int                         // leaves read
	root   chain.Hash                  // of a full bundle
	tile   []byte

	erased     []int // leaves without payload
	statements [][]uint64
	payloads   int
	bytes      int
	failures   []Failure
	disputed   []disputed
	err        error
	reckoned   chan struct{}
}

// maxBundle bounds an entry bundle.
const maxBundle = chain.TileWidth * (2 + 1<<16)

// leaves runs the bundles through reading and reckoning and, in their order, linking.
func (v *verifier) leaves() error {
	total := (v.head.size + chain.TileWidth - 1) / chain.TileWidth
	if v.bundles < total {
		v.fail(v.bundle(v.bundles).path(), "缺失，其后也没有册页：从第 %d 页起共缺 %d 页", "missing, and all behind it: from leaf %d on %d are not there",
			v.bundles*chain.TileWidth, v.head.size-v.bundles*chain.TileWidth)
	}
	workers := int(min(int64(runtime.GOMAXPROCS(0)), v.bundles))
	free := make(chan *page, 4*workers) // bounds what is in memory
	for range cap(free) {
		free <- &page{reckoned: make(chan struct{}, 1)}
	}
	order, work := make(chan *page, cap(free)), make(chan *page, cap(free))
	stop := make(chan struct{})
	var running sync.WaitGroup
	defer running.Wait()
	defer close(stop)
	running.Go(func() {
		defer close(order)
		defer close(work)
		for idx := range v.bundles {
			select {
			case p := <-free:
				p.idx, p.width, p.name = idx, widest(0, idx, v.head.size), v.bundle(idx).path()
				order <- p
				work <- p
			case <-stop:
				return
			}
		}
	})
	for range workers {
		running.Go(func() {
			content := newPayloads()
			for p := range work {
				p.err = v.reckon(p, content)
				p.reckoned <- struct{}{}
			}
		})
	}
	for p := range order {
		<-p.reckoned
		if p.err == nil {
			p.err = v.take(p)
		}
		if p.err != nil {
			return p.err
		}
		if v.missing > maxFailures { // what is left is no copy, and may claim to be of any size
			return nil
		}
		free <- p
	}
	return nil
}

func (v *verifier) bundle(idx int64) tile {
	return tile{chain.EntriesLevel, idx, widest(0, idx, v.head.size)}
}

func (p *page) fail(where, zh, en string, a ...any) {
	p.failures = append(p.failures, failure(where, zh, en, a...))
}

func (p *page) failAt(where string, i int, zh, en string, a ...any) {
	p.failures = append(p.failures, failure(where, zh, en, a...).at(p.idx*chain.TileWidth+int64(i)))
}

// reckon does what depends on a bundle's leaves alone.
func (v *verifier) reckon(p *page, content *payloads) error {
	p.erased, p.statements, p.failures, p.disputed = p.erased[:0], p.statements[:0], p.failures[:0], p.disputed[:0]
	p.n, p.payloads, p.bytes = 0, 0, 0
	if err := v.entries(p); err != nil {
		return err
	}
	if err := v.leafTile(p); err != nil {
		return err
	}
	if p.width == chain.TileWidth {
		hashes := p.hashes
		p.root = chain.FoldTile(hashes[:])
	}
	if !v.rep.Content {
		return nil
	}
	for _, w := range append(v.stale[tile{payloadsLevel, p.idx, 0}], p.width) {
		if err := v.content(p, w, content); err != nil {
			return err
		}
	}
	return nil
}

// entries reads, hashes and decodes the leaves.
func (v *verifier) entries(p *page) (err error) {
	p.body, err = v.read(p.name, p.body, maxBundle)
	p.bytes += len(p.body)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.fail(p.name, "缺失", "missing")
		p.body = p.body[:0]
		return nil
	case errors.Is(err, errLong):
		p.fail(p.name, "过大", "too large")
	case err != nil:
		return err
	}
	b := p.body
	for ; p.n < p.width && len(b) > 0; p.n++ {
		i := p.n
		if len(b) < 2 || len(b) < 2+int(b[0])<<8+int(b[1]) {
			p.failAt(p.name, i, "文件在这一页之内中断", "the file ends inside this leaf")
			b = nil
			break
		}
		n := 2 + int(b[0])<<8 + int(b[1])
		low := b[1]
		b[1] = 0 // RFC 6962: a leaf's hash begins with 0
		p.hashes[i] = sha256.Sum256(b[1:n])
		b[1] = low
		if p.leaves[i], err = chain.DecodeLeaf(b[2:n]); err != nil {
			p.failAt(p.name, i, "不是合规的叶：%v", "it is no leaf: %v", err)
		}
		b = b[n:]
	}
	switch {
	case len(b) > 0:
		p.fail(p.name, "在 %d 页之后还有 %d 字节", "behind its %d leaves there are %d bytes", p.width, len(b))
	case p.n < p.width && len(p.failures) == 0:
		p.failAt(p.name, p.n, "应有 %d 页，实有 %d 页", "it should hold %d leaves and holds %d", p.width, p.n)
	}
	for _, w := range v.stale[tile{chain.EntriesLevel, p.idx, 0}] {
		if err := v.olderEntries(p, w); err != nil {
			return err
		}
	}
	return nil
}

// olderEntries compares a partial bundle with the beginning of the wider one.
func (v *verifier) olderEntries(p *page, width int) error {
	name := tile{chain.EntriesLevel, p.idx, width}.path()
	b, err := v.read(name, nil, maxBundle)
	p.bytes += len(b)
	if err != nil && !errors.Is(err, errLong) {
		return err
	}
	end := 0
	for range min(width, p.n) {
		end += 2 + int(p.body[end])<<8 + int(p.body[end+1])
	}
	if err != nil || width <= p.n && !bytes.Equal(b, p.body[:end]) {
		p.fail(name, "与 %s 的开头不同", "differs from the beginning of %s", p.name)
	}
	return nil
}

// leafTile compares the leaves' hashes with those of the tile above them. Where leaves couldn't be read the tile stands in, so that the
// root can be reckoned.
func (v *verifier) leafTile(p *page) (err error) {
	const size = len(chain.Hash{})
	clear(p.hashes[p.n:p.width])
	for _, w := range append(v.stale[tile{0, p.idx, 0}], p.width) {
		t := tile{0, p.idx, w}
		p.tile, err = v.read(t.path(), p.tile, chain.TileWidth*size)
		p.bytes += len(p.tile)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if !v.stored || w == chain.TileWidth {
				p.fail(t.path(), "缺失", "missing")
			}
			continue
		case errors.Is(err, errLong) || err == nil && len(p.tile) != w*size:
			p.fail(t.path(), "应有 %d 个散列", "it should hold %d hashes", w)
			continue
		case err != nil:
			return err
		}
		for i := range w {
			if h := chain.Hash(p.tile[i*size:]); i >= p.n {
				p.hashes[i] = h
			} else if h != p.hashes[i] {
				p.disputed = append(p.disputed, disputed{t, i})
			}
		}
	}
	return nil
}

// content compares salts and payloads with what the leaves commit to.
func (v *verifier) content(p *page, width int, r *payloads) error {
	name := tile{payloadsLevel, p.idx, width}.path()
	f, err := v.fs.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		p.fail(name, "缺失", "missing")
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	counted := counter{f, &p.bytes}
	r.r.Reset(counted)
	for i := range width {
		b, err := r.next()
		if _, unread := errors.AsType[*fs.PathError](err); unread {
			return err
		}
		if err != nil {
			p.failAt(name, i, "文件在这一页之内损坏或中断：%v", "the file is damaged or ends inside this leaf's: %v", err)
			return nil
		}
		switch {
		case len(b) == 0:
			if width == p.width {
				p.erased = append(p.erased, i)
			}
			continue
		case i >= p.n || p.leaves[i].Version == 0: // it commits to nothing
			continue
		case sha256.Sum256(b) != p.leaves[i].Commitment:
			p.failAt(name, i, "内容与叶的承诺不符", "content is not what the leaf commits to")
			continue
		}
		if width != p.width {
			continue
		}
		p.payloads++
		if p.leaves[i].Kind == chain.KindErased {
			if s, err := chain.Payload[chain.ErasedPayload](b[chain.SaltSize:]); err != nil {
				p.failAt(name, i, "不是合规的删除记录：%v", "it is no statement of erasure: %v", err)
			} else {
				p.statements = append(p.statements, s.Leaves)
			}
		}
	}
	if err := r.end(); err != nil {
		if _, unread := errors.AsType[*fs.PathError](err); unread {
			return err
		}
		p.fail(name, "%v", "%v", err)
	}
	return nil
}

type counter struct {
	r io.Reader
	n *int
}

func (c counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	*c.n += n
	return n, err
}

// take puts the next bundle behind those before.
func (v *verifier) take(p *page) error {
	for _, f := range p.failures {
		v.rep.add(f)
	}
	for _, d := range p.disputed {
		v.dispute(d)
	}
	v.rep.Bytes += int64(p.bytes)
	v.rep.Payloads += int64(p.payloads)
	first := p.idx * chain.TileWidth
	for i := range p.n {
		if l := &p.leaves[i]; l.Version != 0 {
			v.leaf(p.name, first+int64(i), l, p.hashes[i])
		}
	}
	if p.n < p.width {
		v.gap = true
		if p.n == 0 {
			v.missing++
		}
	}
	for _, i := range p.erased {
		v.bare[first+int64(i)] = true
	}
	for _, s := range p.statements {
		for _, seq := range s {
			v.named[int64(seq)] = true
		}
	}
	for len(v.promises) > 0 && v.promises[0].size < first+chain.TileWidth && v.promises[0].size <= first+int64(p.width) {
		v.meet(v.promises[0].size, p.hashes[:v.promises[0].size-first])
	}
	if p.width < chain.TileWidth {
		return nil
	}
	if err := v.push(p.idx+1, p.root); err != nil {
		return err
	}
	v.meet(first+chain.TileWidth, nil)
	return nil
}

var errLong = errors.New("longer than any such file")

// read reads a file whole into b, which it may replace.
func (v *verifier) read(name string, b []byte, most int) ([]byte, error) {
	f, err := v.fs.Open(name)
	if err != nil {
		return b[:0], err
	}
	defer f.Close()
	b = b[:0]
	if cap(b) == 0 {
		b = make([]byte, 0, min(64<<10, most+1))
	}
	for {
		n, err := f.Read(b[len(b):min(cap(b), most+1)])
		b = b[:len(b)+n]
		switch {
		case len(b) > most:
			return b, errLong
		case err == io.EOF:
			return b, nil
		case err != nil:
			return b, err
		case len(b) == cap(b):
			b = append(b, make([]byte, len(b))...)[:len(b)]
		}
	}
}
