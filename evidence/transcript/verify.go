package transcript

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"zhizheng/evidence/chain"
)

// Verify reckons a copy again from its bytes: every leaf and its place in its subject's chain, every tile, the root, the checkpoint with
// all its signatures and the policy's quorum, payloads and erasures where the copy has them, and that every kept checkpoint's tree is the
// beginning of this one. It needs memory for the heads of all subjects and a few bundles. An error says that the copy couldn't be read.
func Verify(copy fs.FS, trust chain.Policy, kept ...Kept) (Report, error) {
	v := &verifier{fs: copy, trust: trust, stale: map[tile][]int{}, heads: map[chain.SubjectID]int{}, bare: map[int64]bool{}, named: map[int64]bool{}}
	v.rep.Failures = []Failure{}
	err := v.run(kept)
	return v.rep, err
}

// OwnKeys are the keys that a copy names itself. They prove nothing.
func OwnKeys(copy fs.FS) (chain.Policy, error) {
	for _, name := range []string{VKeyName, servedVKey} {
		b, err := fs.ReadFile(copy, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return chain.Policy{}, err
		}
		_, err = chain.ParseKeys(string(b))
		return chain.LogPolicy(strings.Fields(string(b))...), err
	}
	return chain.Policy{}, errors.New("it names no key of the log")
}

type verifier struct {
	fs      fs.FS
	trust   chain.Policy
	carried []note.Verifier // keys that the copy itself names
	rep     Report

	head     promise // the checkpoint that covers the copy
	stored   bool    // it is the store's copy: no partial hash tiles
	promises []promise
	bundles  int64          // up to the last one that is there
	stale    map[tile][]int // partial tiles beside wider ones, by tile without width

	open     [8][]chain.Hash // of each level above the leaves, the hashes behind the last full tile
	heads    map[chain.SubjectID]int
	last     []head
	gap      bool           // leaves couldn't be read: their subjects go on at a later one
	bare     map[int64]bool // leaves without payload
	named    map[int64]bool // leaves of which a statement says that they were erased
	disputed []disputed
	rooted   bool // the leaves give the checkpoint's root
	missing  int  // bundles
}

// promise is a root that the tree must have at a size.
type promise struct {
	where string
	size  int64
	root  chain.Hash
	kept  bool
}

// head is a subject's newest leaf.
type head struct {
	counter uint64
	hash    chain.Hash
}

// disputed is a hash in a tile that is not the one reckoned.
type disputed struct {
	tile
	i int
}

func (v *verifier) fail(where, zh, en string, a ...any) { v.rep.add(failure(where, zh, en, a...)) }

func (v *verifier) run(kept []Kept) error {
	if err := v.root(); err != nil || v.head.where == "" {
		return err
	}
	v.keep(kept)
	if err := v.list(); err != nil {
		return err
	}
	if err := v.leaves(); err != nil {
		return err
	}
	if err := v.edge(); err != nil {
		return err
	}
	v.settle()
	v.rep.Subjects = int64(len(v.last))
	return nil
}

// root reads what lies beside the tiles.
func (v *verifier) root() error {
	entries, err := fs.ReadDir(v.fs, ".")
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
		switch e.Name() {
		case checkpointsDir, tileDir:
			if !e.IsDir() {
				v.fail(e.Name(), "不是文件夹", "is no folder")
			}
		case CheckpointName, VKeyName, WitnessesName, servedVKey, servedPolicy:
			v.rep.Files++
		default:
			v.fail(e.Name(), "副本中不应有的文件", "does not belong to the copy")
		}
	}
	if !names[CheckpointName] && !names[checkpointsDir] && !names[tileDir] {
		return errors.New("the folder holds no copy of a log")
	}
	if err := v.keys(names); err != nil {
		return err
	}
	if names[CheckpointName] {
		if err := v.checkpoint(CheckpointName); err != nil {
			return err
		}
	}
	if names[checkpointsDir] {
		if err := v.checkpoints(); err != nil {
			return err
		}
	}
	if v.head.where == "" {
		v.fail(CheckpointName, "缺失或无法读取：没有可供核对的存证点", "missing or unreadable: there is no checkpoint to compare with")
	}
	return nil
}

// maxText bounds what is read of a checkpoint or a list of keys.
const maxText = 64 << 10

func (v *verifier) text(name string) (string, error) {
	b, err := v.read(name, nil, maxText)
	v.rep.Bytes += int64(len(b))
	return string(b), err
}

// keys reads the keys that the copy names. They give no trust: but a line of a key that replaces the trusted one, or of a witness, is
// checked for damage by them.
func (v *verifier) keys(names map[string]bool) error {
	logs, err := v.trust.LogVerifiers()
	if err != nil {
		return err
	}
	for _, name := range []string{VKeyName, servedVKey, WitnessesName, servedPolicy} {
		if !names[name] {
			continue
		}
		text, err := v.text(name)
		if err != nil {
			return err
		}
		var vs []note.Verifier
		switch name {
		case WitnessesName:
			vs, err = witnesses(text)
		case servedPolicy:
			var p chain.Policy
			if p, err = chain.ParsePolicy(text); err == nil {
				vs, err = p.Verifiers()
			}
		default:
			var k chain.Keys
			if k, err = chain.ParseKeys(text); err == nil {
				vs = k.Trusted()
			}
			if err == nil && strings.Join(strings.Fields(text), "\n")+"\n" != text {
				err = errSpelling
			}
			if err == nil && !slices.ContainsFunc(logs, func(l note.Verifier) bool { return l.Name() == k.Name() }) {
				err = fmt.Errorf("they are of %q", k.Name())
			}
		}
		if err != nil {
			v.fail(name, "所列公钥不成立：%v", "the keys listed don't hold: %v", err)
			continue
		}
		v.carried = append(v.carried, vs...)
	}
	return nil
}

var errSpelling = errors.New("spelt otherwise")

// witnesses reads keys of witnesses, one a line.
func witnesses(text string) (vs []note.Verifier, err error) {
	for line := range strings.Lines(text) {
		vkey, ended := strings.CutSuffix(line, "\n")
		w, err := chain.NewWitnessVerifier(vkey)
		if err == nil && (!ended || strings.TrimSpace(vkey) != vkey) {
			err = errSpelling
		}
		if err != nil {
			return nil, err
		}
		vs = append(vs, w)
	}
	if len(vs) == 0 {
		return nil, errors.New("there is none")
	}
	return vs, nil
}

// checkpoint reads the one that covers the copy. One whose signatures don't hold still tells how much to expect.
func (v *verifier) checkpoint(name string) error {
	text, err := v.text(name)
	if err != nil {
		return err
	}
	o, err := v.trust.Open([]byte(text), v.carried...)
	if err != nil {
		v.fail(name, "存证点不成立：%v", "the checkpoint doesn't hold: %v", err)
		body, _, found := strings.Cut(text, "\n\n")
		if o.Checkpoint, err = chain.ParseCheckpoint(body + "\n"); err != nil || !found {
			return nil
		}
	} else if !o.Quorum {
		need, of := v.trust.Threshold()
		v.fail(name, "见证未达到可信策略的门限：%d 个中须有 %d 个，共签的有 %d 个", "short of the trusted policy's quorum: of %d witnesses %d are needed, %d cosigned", of, need, len(o.Signers()))
	}
	v.head = promise{where: name, size: o.Size, root: o.Root}
	v.promises = append(v.promises, v.head)
	v.rep.Origin, v.rep.Size, v.rep.Cosigned, v.rep.Quorum = o.Origin, o.Size, o.Cosigned, o.Quorum
	if lines := strings.Split(o.Text(), "\n"); len(lines) > 2 {
		v.rep.Root = lines[2]
	}
	return nil
}

// checkpoints reads those of the store's copy, the largest of which covers it.
func (v *verifier) checkpoints() error {
	entries, err := fs.ReadDir(v.fs, checkpointsDir)
	if err != nil {
		return err
	}
	newest := "" // names sort by size
	for _, e := range entries {
		name := path.Join(checkpointsDir, e.Name())
		if _, err := checkpointSize(name); err != nil || !e.Type().IsRegular() {
			v.fail(name, "副本中不应有的文件", "does not belong to the copy")
			continue
		}
		v.rep.Files++
		if newest != "" {
			if err := v.older(newest); err != nil {
				return err
			}
		}
		newest = name
	}
	switch {
	case newest == "":
		return nil
	case v.head.where != "":
		return v.older(newest)
	}
	v.stored = true
	return v.checkpoint(newest)
}

// older reads a checkpoint of a smaller tree.
func (v *verifier) older(name string) error {
	text, err := v.text(name)
	if err != nil {
		return err
	}
	o, err := v.trust.Open([]byte(text), v.carried...)
	if size, _ := checkpointSize(name); err == nil && o.Size != size {
		err = fmt.Errorf("it is of %d leaves", o.Size)
	}
	if err != nil {
		v.fail(name, "存证点不成立：%v", "the checkpoint doesn't hold: %v", err)
		return nil
	}
	v.promises = append(v.promises, promise{where: name, size: o.Size, root: o.Root})
	return nil
}

// keep takes the checkpoints that somebody kept, and puts all promises in order. The log's signature is what they count for.
func (v *verifier) keep(kept []Kept) {
	logs, err := v.trust.LogVerifiers()
	for _, k := range kept {
		var c chain.Checkpoint
		if err == nil {
			c, err = chain.OpenByLog(k.Signed, logs...)
		}
		if err == nil && c.Origin != v.rep.Origin {
			err = fmt.Errorf("it is of %q", c.Origin)
		}
		if err != nil {
			v.fail(k.Name, "所留存证点不成立：%v", "the kept checkpoint doesn't hold: %v", err)
			err = nil
			continue
		}
		v.promises = append(v.promises, promise{where: k.Name, size: c.Size, root: c.Root, kept: true})
	}
	slices.SortStableFunc(v.promises, func(a, b promise) int {
		if a.size != b.size {
			return int(max(-1, min(1, a.size-b.size)))
		}
		return 0
	})
}

// list looks at the name of every file below tile/: those that are missing are found when they are read.
func (v *verifier) list() error {
	v.meet(0, nil)
	err := fs.WalkDir(v.fs, tileDir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && name == tileDir && errors.Is(err, fs.ErrNotExist):
			return fs.SkipAll
		case err != nil:
			return err
		case d.IsDir():
			v.rep.Content = v.rep.Content || name == payloadsDir
			return nil
		}
		t, err := parseTile(name)
		wide := widest(t.level, t.idx, v.head.size)
		switch {
		case err != nil || !d.Type().IsRegular():
			v.fail(name, "副本中不应有的文件", "does not belong to the copy")
		case t.width > wide:
			v.fail(name, "超出存证点所及的范围：没有签名为它作保", "beyond what the checkpoint covers: nothing signed vouches for it")
		case t.width < wide:
			w := t.width
			t.width = 0
			v.stale[t] = append(v.stale[t], w)
		case t.level == chain.EntriesLevel:
			v.bundles = max(v.bundles, t.idx+1)
		}
		v.rep.Files++
		return nil
	})
	return err
}

// leaf takes the next leaf into its subject's chain.
func (v *verifier) leaf(name string, seq int64, l *chain.Leaf, h chain.Hash) {
	i, known := v.heads[l.Subject]
	if !known {
		v.heads[l.Subject] = len(v.last)
		v.last = append(v.last, head{l.Counter, h})
		if l.Counter != 1 && !v.gap {
			v.rep.add(failure(name, "主题链断裂：从 %d 开始而不是 1", "the subject's chain is broken: it starts at %d instead of 1", l.Counter).at(seq))
		}
		return
	}
	before := &v.last[i]
	if l.Counter != before.counter+1 && (!v.gap || l.Counter <= before.counter) || l.Counter == before.counter+1 && l.Prev != before.hash {
		err := chain.Link(&chain.Leaf{Subject: l.Subject, Counter: before.counter}, before.hash, *l)
		v.rep.add(failure(name, "主题链断裂：%v", "the subject's chain is broken: %v", err).at(seq))
	}
	*before = head{l.Counter, h}
}

// push adds the root of a full bundle, of which there are n by now, to the tree.
func (v *verifier) push(n int64, h chain.Hash) error {
	for level := 1; ; level++ {
		v.open[level] = append(v.open[level], h)
		if len(v.open[level]) < chain.TileWidth {
			return nil
		}
		if err := v.compare(tile{level, n>>(chain.TileHeight*level) - 1, chain.TileWidth}, v.open[level]); err != nil {
			return err
		}
		h = chain.FoldTile(v.open[level])
		v.open[level] = v.open[level][:0]
	}
}

// compare holds a tile of a level above the leaves against what was reckoned.
func (v *verifier) compare(t tile, want []chain.Hash) error {
	for _, w := range append(v.stale[tile{t.level, t.idx, 0}], t.width) {
		name := tile{t.level, t.idx, w}.path()
		b, err := v.read(name, nil, chain.TileWidth*len(chain.Hash{}))
		v.rep.Bytes += int64(len(b))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if !v.stored || w == chain.TileWidth {
				v.fail(name, "缺失", "missing")
			}
			continue
		case errors.Is(err, errLong) || err == nil && len(b) != w*len(chain.Hash{}):
			v.fail(name, "应有 %d 个散列", "it should hold %d hashes", w)
			continue
		case err != nil:
			return err
		}
		for i := range w {
			if chain.Hash(b[i*len(chain.Hash{}):]) != want[i] {
				v.dispute(disputed{tile{t.level, t.idx, w}, i})
			}
		}
	}
	return nil
}

func (v *verifier) dispute(d disputed) {
	if len(v.disputed) < maxFailures {
		v.disputed = append(v.disputed, d)
	}
}

// meet compares the tree, as it stands at that size, with the roots that were promised. leaves are the hashes behind the last full bundle.
func (v *verifier) meet(size int64, leaves []chain.Hash) {
	var root chain.Hash
	for i := 0; len(v.promises) > 0 && v.promises[0].size == size; i++ {
		p := v.promises[0]
		v.promises = v.promises[1:]
		if i == 0 {
			var err error
			if root, err = chain.RootFromTiles(size, func(level int, _ int64, width int) ([]byte, error) {
				if level == 0 {
					return chain.Join(leaves[:width]), nil
				}
				return chain.Join(v.open[level][:width]), nil
			}); err != nil {
				panic(err) // the tiles are those above
			}
		}
		switch {
		case root != p.root && p.kept:
			v.fail(p.where, "副本不是这个存证点的延续：它的前 %d 页不是当时签发的那些", "the copy doesn't continue this checkpoint: its first %d leaves are not those that were signed then", size)
		case root != p.root:
			v.fail(p.where, "根与叶重算的结果不符", "its root is not the one reckoned from the leaves")
		case p.kept:
			v.rep.Continues = append(v.rep.Continues, size)
		case p.where == v.head.where:
			v.rooted = true
		}
	}
}

// edge compares the partial tiles above the leaves.
func (v *verifier) edge() error {
	for level := 1; level < len(v.open) && v.head.size>>(chain.TileHeight*level) > 0; level++ {
		if n := len(v.open[level]); n > 0 {
			idx := v.head.size >> (chain.TileHeight * (level + 1))
			if n != widest(level, idx, v.head.size) {
				return nil // leaves are missing, and were found
			}
			if err := v.compare(tile{level, idx, n}, v.open[level]); err != nil {
				return err
			}
		}
	}
	return nil
}

// settle says what only the whole copy tells.
func (v *verifier) settle() {
	for _, p := range v.promises { // the tree never was that large
		if p.kept && p.size > v.head.size {
			v.fail(p.where, "所留存证点有 %d 页，副本只有 %d 页：副本较旧，或有册页被去掉", "the kept checkpoint has %d leaves, the copy only %d: it is older, or leaves were taken away", p.size, v.head.size)
		} else {
			v.fail(p.where, "声明有 %d 页，副本中没有这么多", "it tells of %d leaves, which are not all there", p.size)
		}
	}
	// If the leaves give the signed root, it is the tile that is damaged; else the leaf.
	for _, d := range v.disputed {
		seq := d.idx*chain.TileWidth + int64(d.i)
		switch {
		case d.level == 0 && !v.rooted:
			v.rep.add(failure(chain.EntriesPath(d.idx, widest(0, d.idx, v.head.size)), "其散列不是 %s 所记的那个", "its hash is not the one in %s", d.path()).at(seq))
		case d.level == 0:
			v.rep.add(failure(d.path(), "所记散列不是这一页的", "its hash of this leaf is wrong").at(seq))
		default:
			v.fail(d.path(), "第 %d 个散列与叶重算的结果不符", "hash %d is not the one reckoned from the leaves", d.i)
		}
	}
	for _, seq := range slices.Sorted(maps.Keys(v.bare)) {
		if v.named[seq] {
			v.rep.Erased++
			continue
		}
		idx := seq / chain.TileWidth
		v.rep.add(failure(PayloadsPath(idx, widest(0, idx, v.head.size)), "内容缺失而无删除记录", "its content is gone, and no leaf says that it was erased").at(seq))
	}
}
