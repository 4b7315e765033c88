package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sys/unix"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/transcript"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

// lone compares one writer with what the disk needs for 8 KB, one after the other.
func (b *logBench) lone(ctx context.Context) (err error) {
	l, err := b.log(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	f, err := os.OpenFile(filepath.Join(b.dir, "probe"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	const n, block = 400, 8192
	if _, err := f.Write(make([]byte, n*block)); err != nil { // like a WAL segment: its blocks are there before
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	var probe, ours []time.Duration
	page := make([]byte, block)
	for i := range n {
		_, _ = rand.Read(page) // never fails since Go 1.24
		began := time.Now()
		if _, err := f.WriteAt(page, int64(i)*block); err != nil {
			return err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return err
		}
		probe = append(probe, time.Since(began))
		began = time.Now()
		if err := l.Do(ctx, func(_ context.Context, tx *pg.Tx) error { return l.Append(tx, plainEntry(int64(i))) }); err != nil {
			return err
		}
		ours = append(ours, time.Since(began))
	}
	p, o := quantile(probe, 0.5), quantile(ours, 0.5)
	figure("log: lone writer, p50", float64(o.Microseconds())/1000, "ms", "-")
	figure("log: 8 KB written and fdatasync, p50", float64(p.Microseconds())/1000, "ms", "-")
	figure("log: lone writer against fdatasync, p50", float64(o)/float64(p), "x", "≤ 6")
	return sound(ctx, l.Log, n)
}

// replicas compares three servers' processes with one, each with as many writers, on one database.
func (b *logBench) replicas(ctx context.Context) (err error) {
	address, err := b.database(ctx)
	if err != nil {
		return err
	}
	var servers []*writerProcess
	defer func() {
		for _, s := range servers {
			err = errors.Join(err, s.end())
		}
	}()
	for i := range 3 {
		s, err := startWriters(ctx, address, filepath.Join(b.dir, fmt.Sprint("replica", i)), fmt.Sprint("r", i, "/"))
		if err != nil {
			return err
		}
		servers = append(servers, s)
	}
	// The publisher is this process. The writers compared their own signers with the database before it published anything.
	l, err := openLog(ctx, address, filepath.Join(b.dir, "replicas"), true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	var total int64
	var one, three []float64
	var ratios []float64
	for round := range logRounds + 1 {
		n1, rate1, err := together(servers[:1])
		if err != nil {
			return err
		}
		n3, rate3, err := together(servers)
		if err != nil {
			return err
		}
		total += n1 + n3
		if round > 0 {
			one, three, ratios = append(one, rate1), append(three, rate3), append(ratios, rate3/rate1)
		}
	}
	if err := sound(ctx, l.Log, total); err != nil { // no gap, no fork: every leaf that was acknowledged is in the one tree that was signed
		return err
	}
	figure("log: one process of 256 writers", middle(one), "entries/s", "-")
	figure("log: three processes of 256 writers on one database", middle(three), "entries/s", "-")
	figure("log: three processes against one", middle(ratios), "x", "≥ 0.5")
	return nil
}

// writerProcess is a process of this program that appends when it is told to.
type writerProcess struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startWriters(ctx context.Context, address, dir, prefix string) (*writerProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "log-writers", dir, prefix)
	cmd.Env = append(os.Environ(), "ZZ_BENCH_DATABASE="+address) // it holds a password
	cmd.Stderr = os.Stderr
	p := &writerProcess{cmd: cmd}
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := p.read(); err != nil { // ready
		return nil, errors.Join(err, p.end())
	}
	return p, nil
}

func (p *writerProcess) read() (int64, error) {
	line, err := p.out.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("writers: %w", err)
	}
	return strconv.ParseInt(strings.TrimSpace(line), 10, 64)
}

func (p *writerProcess) end() error { return errors.Join(p.in.Close(), p.cmd.Wait()) }

func together(servers []*writerProcess) (int64, float64, error) {
	began := time.Now()
	for _, s := range servers {
		if _, err := io.WriteString(s.in, "go\n"); err != nil {
			return 0, 0, err
		}
	}
	var total int64
	for _, s := range servers {
		n, err := s.read()
		if err != nil {
			return 0, 0, err
		}
		total += n
	}
	return total, float64(total) / time.Since(began).Seconds(), nil
}

// logWriterProcess is the other side: for every line it hammers the log for a turn and says how many entries that were.
func logWriterProcess(ctx context.Context, args []string) error {
	l, err := openLog(ctx, os.Getenv("ZZ_BENCH_DATABASE"), args[0], false)
	if err != nil {
		return err
	}
	fmt.Println(0)
	var next int64
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		n, _, err := hammer(ctx, logWriters, turn, &next, func(ctx context.Context, i int64) error {
			e := plainEntry(i)
			e.Key = args[1] + e.Key
			return l.Do(ctx, func(_ context.Context, tx *pg.Tx) error { return l.Append(tx, e) })
		})
		if err != nil {
			return errors.Join(err, l.stop())
		}
		fmt.Println(n)
	}
	return l.stop()
}

// wal reports bytes of write-ahead log for a byte of leaf and payload, from one of the database's checkpoints on, images of pages included.
func (b *logBench) wal(ctx context.Context) (err error) {
	for _, batch := range []int{1, 256} {
		if err := b.walOf(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

func (b *logBench) walOf(ctx context.Context, batch int) (err error) {
	l, err := b.log(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	owner, err := pgx.Connect(ctx, l.address)
	if err != nil {
		return err
	}
	defer owner.Close(ctx)
	var next int64
	write := func(entries int) error {
		for n := 0; n < entries; n += batch {
			es := make([]chain.Entry, batch)
			for i := range es {
				es[i] = plainEntry(next)
				next++
			}
			if err := l.Do(ctx, func(_ context.Context, tx *pg.Tx) error { return l.Append(tx, es...) }); err != nil {
				return err
			}
		}
		return nil
	}
	body := func() (n int64, err error) {
		err = owner.QueryRow(ctx, `select (select sum(octet_length(bytes)) from log_entry)::bigint + (select sum(octet_length(payload)) from log_payload)::bigint`).Scan(&n)
		return n, err
	}
	position := func() (n int64, err error) {
		err = owner.QueryRow(ctx, `select (pg_current_wal_insert_lsn() - '0/0')::bigint`).Scan(&n)
		return n, err
	}
	entries := max(2000, min(40*batch*batch, 20_000))
	if err := write(entries / 4); err != nil { // some pages are there already
		return err
	}
	body0, err := body() // before the checkpoint: it also settles which rows are visible, which writes pages with checksums
	if err != nil {
		return err
	}
	if _, err := owner.Exec(ctx, `checkpoint`); err != nil {
		return err
	}
	wal0, err := position()
	if err != nil {
		return err
	}
	if err := write(entries); err != nil {
		return err
	}
	wal1, err := position()
	if err != nil {
		return err
	}
	body1, err := body()
	if err != nil {
		return err
	}
	name, target := "log: WAL bytes per byte of leaf and payload, 256 entries a commit", "≤ 1.5"
	if batch == 1 {
		name, target = "log: WAL bytes per byte of leaf and payload, one entry a commit", "-"
	}
	figure(name, float64(wal1-wal0)/float64(body1-body0), "x", target)
	return nil
}

// published measures how long an acknowledged entry waits for a checkpoint that covers it, with writers that come now and then.
func (b *logBench) published(ctx context.Context) (err error) {
	l, err := b.log(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	type covered struct {
		size int64
		at   time.Time
	}
	var seen []covered
	watch, stop := context.WithCancel(ctx)
	defer stop()
	watched := make(chan error, 1)
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		last := int64(0)
		for {
			select {
			case <-watch.Done():
				watched <- nil
				return
			case <-tick.C:
			}
			var size int64
			if err := l.pool.QueryRow(ctx, `select size from log_publisher where one`).Scan(&size); err != nil {
				watched <- err
				return
			}
			if size > last {
				last = size
				seen = append(seen, covered{size, time.Now()})
			}
		}
	}()
	acknowledged := map[string]time.Time{}
	var mu sync.Mutex
	var next int64
	_, _, err = hammer(ctx, 8, 12*time.Second, &next, func(ctx context.Context, i int64) error {
		e := plainEntry(i)
		if err := l.Do(ctx, func(_ context.Context, tx *pg.Tx) error { return l.Append(tx, e) }); err != nil {
			return err
		}
		mu.Lock()
		acknowledged[e.Key] = time.Now()
		mu.Unlock()
		pause := time.NewTimer(time.Duration(1+i%150) * time.Millisecond)
		defer pause.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pause.C:
			return nil
		}
	})
	if err != nil {
		return err
	}
	limit := time.Now().Add(10 * time.Second)
	for {
		var size, published int64
		err := l.pool.QueryRow(ctx, `select h.size, p.size from log_head h, log_publisher p`).Scan(&size, &published)
		if err != nil {
			return err
		}
		if size == published {
			break
		}
		if time.Now().After(limit) {
			return fmt.Errorf("%d leaves, a checkpoint of %d after ten seconds", size, published)
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond) // the watch sees the last one too
	stop()
	if err := <-watched; err != nil {
		return err
	}
	rows, err := l.pool.Query(ctx, `select seq, key from log_entry`)
	if err != nil {
		return err
	}
	var waits []time.Duration
	var seq int64
	var key string
	_, err = pgx.ForEachRow(rows, []any{&seq, &key}, func() error {
		for _, c := range seen {
			if c.size > seq {
				waits = append(waits, max(0, c.at.Sub(acknowledged[key])))
				return nil
			}
		}
		return fmt.Errorf("leaf %d is in no checkpoint", seq)
	})
	if err != nil {
		return err
	}
	figure("log: acknowledged to published, p50", quantile(waits, 0.5).Seconds(), "s", "-")
	figure("log: acknowledged to published, p99", quantile(waits, 0.99).Seconds(), "s", "≤ 1.5")
	return sound(ctx, l.Log, int64(len(waits)))
}

// auditing compares reckoning the whole log again with sha256sum of the same bytes: in the database, and offline from an exported copy.
func (b *logBench) auditing(ctx context.Context) (err error) {
	l, err := b.log(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	const entries = 300_000
	for n := int64(0); n < entries; {
		es := make([]chain.Entry, 500)
		for i := range es {
			es[i] = plainEntry(n)
			n++
		}
		if err := l.Do(ctx, func(_ context.Context, tx *pg.Tx) error { return l.Append(tx, es...) }); err != nil {
			return err
		}
	}
	owner, err := pgx.Connect(ctx, l.address)
	if err != nil {
		return err
	}
	defer owner.Close(ctx)
	if _, err := owner.Exec(ctx, `vacuum analyze`); err != nil { // as it is on a log that is not minutes old
		return err
	}
	dir := filepath.Join(b.dir, "copy")
	for size := int64(0); size < entries; { // as far as checkpoints are by now; the next run adds the rest
		x, err := l.Export(ctx, dir, true)
		if err != nil {
			return err
		}
		size = x.Size
	}
	copied := os.DirFS(dir)
	var size int64
	var audits, offlines, sums, ofAudit, ofOffline []float64
	for round := range logRounds + 1 {
		sum, err := timed(func() error {
			out, err := exec.CommandContext(ctx, "sh", "-c", `find "$1" -type f -print0 | xargs -0 sha256sum >/dev/null`, "sh", dir).CombinedOutput()
			if err != nil {
				return fmt.Errorf("sha256sum: %w: %s", err, out)
			}
			return nil
		})
		if err != nil {
			return err
		}
		offline, err := timed(func() error {
			rep, err := transcript.Verify(copied, chain.LogPolicy(l.VKey()))
			if err == nil && (len(rep.Failures) > 0 || rep.Size != entries || rep.Payloads != entries) {
				err = fmt.Errorf("the copy doesn't hold: %+v", rep)
			}
			size = rep.Bytes
			return err
		})
		if err != nil {
			return err
		}
		audit, err := timed(func() error { return sound(ctx, l.Log, entries) })
		if err != nil {
			return err
		}
		if round > 0 {
			sums, audits, offlines = append(sums, sum), append(audits, audit), append(offlines, offline)
			ofAudit, ofOffline = append(ofAudit, sum/audit), append(ofOffline, sum/offline)
		}
	}
	mb := float64(size) / 1e6
	figure(fmt.Sprintf("log: sha256sum of a copy of %d leaves with payloads", entries), mb/middle(sums), "MB/s", "-")
	figure("log: offline verification of this copy", mb/middle(offlines), "MB/s", "-")
	figure("log: offline verification's speed against sha256sum's", middle(ofOffline), "x", "≥ 1.2")
	figure("log: audit of the same leaves in the database", mb/middle(audits), "MB/s", "-")
	figure("log: audit's speed against sha256sum's", middle(ofAudit), "x", "-")
	return nil
}

// timed gives how many seconds an act takes.
func timed(act func() error) (float64, error) {
	began := time.Now()
	err := act()
	return time.Since(began).Seconds(), err
}

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
