package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"zhizheng/evidence"
	"zhizheng/evidence/evlog"
	"zhizheng/ingest"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/blob"
	"zhizheng/internal/embedded"
	"zhizheng/internal/pg"
)

const (
	sealRounds  = 5
	sealClips   = 1000 // a round and way
	sealSize    = 4 << 10
	sealers     = 16 // requests, or connections, at once
	lockedUntil = 400 * 24 * time.Hour
)

// sealing measures what makes small clips sealed records once their bytes are at the store, 10,000 in rounds, beside bare inserts of the same rows by as
// many connections. The baseline inserts whole records where sealing changes those that the manifest made, and knows no log: no tree, no shared commit.
// Sealing and completing are told apart, because completing is mostly the store's answers: whether parts are missing, what the object is; and at last
// the whole of it, with the store putting the object together and extending its lock, which are the disk's syncs.
func sealing(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "zhizheng-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil { // the cluster runs as another user, when we are root
		return err
	}
	p, err := embedded.StartPostgres(ctx, embedded.PostgresOptions{Dir: dir, Cluster: filepath.Join(dir, "cluster"), Log: quiet()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop(context.WithoutCancel(ctx))) }()
	o, stop, err := startStore(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	store, err := blob.Open(ctx, o)
	if err != nil {
		return err
	}
	defer store.Close()
	l, err := (&logBench{dir: dir, postgres: p}).log(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	pool, err := pg.Open(ctx, l.address, 24) // as serve opens it
	if err != nil {
		return err
	}
	defer pool.Close()
	s, err := newSealer(ctx, l.Log, pool, store, dir)
	if err != nil {
		return err
	}
	owner, err := pgxpool.New(ctx, l.address)
	if err != nil {
		return err
	}
	defer owner.Close()
	if _, err := owner.Exec(ctx, bareTables); err != nil {
		return err
	}
	var whole, seal, asked, commit, bare, sealRatios, commitRatios []float64
	turn := func(into *[]float64, n int, put bool, do func(context.Context, brought) error) ([]brought, error) {
		all, err := s.bring(ctx, n, put)
		if err != nil {
			return nil, err
		}
		rate, err := atOnce(ctx, all, do)
		*into = append(*into, rate)
		return all, err
	}
	insert := func(ctx context.Context, u brought) error {
		_, err := owner.Exec(ctx, bareInsert, u.evidence)
		return err
	}
	for round := range sealRounds {
		if _, err := turn(&whole, sealClips/4, false, s.complete); err != nil {
			return err
		}
		first, err := turn(&seal, sealClips, true, s.complete)
		if err != nil {
			return err
		}
		rate, err := atOnce(ctx, first, func(ctx context.Context, u brought) error {
			return errors.Join(s.ask(ctx, u), insert(ctx, u))
		})
		if err != nil {
			return err
		}
		asked = append(asked, rate)
		second, err := turn(&commit, sealClips, false, s.commit)
		if err != nil {
			return err
		}
		if rate, err = atOnce(ctx, second, insert); err != nil {
			return err
		}
		bare = append(bare, rate)
		sealRatios, commitRatios = append(sealRatios, seal[round]/asked[round]), append(commitRatios, commit[round]/bare[round])
	}
	figure("docking: small clips sealed: record, custody event and leaf", middle(commit), "records/s", "-")
	figure("docking: … bare inserts of the same rows from as many connections", middle(bare), "records/s", "-")
	figure("docking: … sealing against bare inserts", middle(commitRatios), "x", "≥ 0.5")
	figure("docking: small clips completed, the store's answer about parts and object, locks and lookups included", middle(seal), "records/s", "-")
	figure("docking: … against bare inserts, each after the store's answer about the object", middle(sealRatios), "x", "-")
	figure("docking: small clips completed, put together at the embedded store, and locked there", middle(whole), "records/s", "-")
	return nil
}

// The tables as they are, less their references to others; what is inserted is what sealing left, so the bytes are the same.
const (
	bareTables = `
create table bare_evidence (like evidence including all excluding generated);
create table bare_custody (like custody including all);
create table bare_entry (like log_entry including all);
create table bare_payload (like log_payload including all);`
	bareInsert = `
with e as (insert into bare_evidence select * from evidence where id = $1),
  c as (insert into bare_custody select * from custody where log_key = 'sealed/' || $1),
  l as (insert into bare_entry select * from log_entry where key = 'sealed/' || $1)
insert into bare_payload select p.* from log_payload p join log_entry x using (seq) where x.key = 'sealed/' || $1`
)

// startStore starts the embedded store in a process of its own, because it changes the working directory.
func startStore(dir string) (o blob.Options, stop func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return o, nil, err
	}
	cmd := exec.Command(self, "bare-store", dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return o, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return o, nil, err
	}
	if err := cmd.Start(); err != nil {
		return o, nil, err
	}
	stop = func() error { return errors.Join(in.Close(), cmd.Wait()) }
	o.Bucket = bucket
	if _, err := fmt.Fscan(bufio.NewReader(out), &o.Endpoint, &o.AccessKey, &o.SecretKey); err != nil {
		return o, nil, errors.Join(err, stop())
	}
	return o, stop, nil
}

// bareStore is that process; it ends with its standard input.
func bareStore(ctx context.Context, dir string) error {
	s, err := embedded.StartS3(ctx, embedded.S3Options{Dir: dir, Log: quiet()})
	if err != nil {
		return err
	}
	access, secret := s.Credentials()
	fmt.Println(s.Endpoint(), access, secret)
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return s.Stop(ctx)
}

// sealer is ingest on real services, and one station that signs.
type sealer struct {
	*ingest.Service
	store   *blob.Store
	station ingest.Station
	key     ed25519.PrivateKey
	counter uint64
	prev    []byte
}

func newSealer(ctx context.Context, l *evlog.Log, pool *pgxpool.Pool, store *blob.Store, dir string) (*sealer, error) {
	s := &sealer{store: store, Service: ingest.New(ingest.Options{Pool: pool, Log: l, Evidence: evidence.NewKeeper(pool, l, store, nil), Store: store,
		Attested: func() bool { return true }, OpenLock: lockedUntil, Logger: quiet(),
		Retain: func(now time.Time) time.Time { return now.Add(lockedUntil / 2) }})}
	station := filepath.Join(dir, "station")
	if err := s.WriteIdentity(ctx, station, "http://127.0.0.1:1", "ST-01", "510821100", "示例", "bench"); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(station, "key.pem"))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, errors.New("no key of the station")
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	s.key = k.(ed25519.PrivateKey) // stations have no other
	id, err := manifest.KeyID(s.key.Public().(ed25519.PublicKey))
	s.station = ingest.Station{ID: "ST-01", Township: "510821100", KeyID: id}
	return s, err
}

// brought is a clip whose bytes are at the store.
type brought struct{ upload, evidence, object string }

// bring signs and submits manifests of new clips and carries their bytes; whole has the store put each together too.
func (s *sealer) bring(ctx context.Context, n int, whole bool) ([]brought, error) {
	contents, parts, raws := make([][]byte, n), make([][][]byte, n), make([][]byte, n)
	for i := range n {
		contents[i] = make([]byte, sealSize)
		_, _ = rand.Read(contents[i]) // never fails since Go 1.24
		h := manifest.NewHasher(sealSize)
		_, _ = h.Write(contents[i]) // hashes don't fail
		sum, composite, digests := h.Sum()
		s.counter++
		raw, hash, err := manifest.Sign(manifest.Manifest{KeyID: s.station.KeyID, Epoch: 1, Counter: s.counter, Prev: s.prev, Recorder: "R1",
			FileName: fmt.Appendf(nil, "BENCH_%06d.mp4", s.counter), Size: sealSize, SHA256: sum[:], PartSize: manifest.PartSize(sealSize), Composite: composite[:],
			At: time.Now().UnixMilli()}, s.key)
		if err != nil {
			return nil, err
		}
		raws[i], parts[i], s.prev = raw, digests, hash[:]
	}
	all := make([]brought, n)
	for from := 0; from < n; from += 100 {
		results, err := s.SubmitManifests(ctx, s.station, raws[from:min(n, from+100)])
		if err != nil {
			return nil, err
		}
		for i, r := range results {
			all[from+i].evidence = string(r.EvidenceID)
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(sealers)
	for i := range all {
		g.Go(func() error {
			u, err := s.BeginUpload(gctx, s.station, evidence.ID(all[i].evidence), manifest.PartSize(sealSize), parts[i])
			if err != nil {
				return err
			}
			all[i].upload = u.ID
			if len(u.Missing) != 1 {
				return fmt.Errorf("%d parts are missing of a clip of one", len(u.Missing))
			}
			if err := put(gctx, u.Missing[0], contents[i]); err != nil || !whole {
				return err
			}
			all[i].object, err = s.putTogether(gctx, all[i].evidence)
			return err
		})
	}
	return all, g.Wait()
}

func put(ctx context.Context, m ingest.MissingPart, content []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, m.URL, bytes.NewReader(content))
	if err != nil {
		return err
	}
	req.Header = m.Headers.Clone()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, text)
	}
	return err
}

// putTogether is the store's part of completing, which a server that ended right after it would have left. It gives the object's key.
func (s *sealer) putTogether(ctx context.Context, id string) (string, error) {
	rec, err := s.Evidence.Get(ctx, evidence.Scope{}, evidence.ID(id))
	if err != nil {
		return "", err
	}
	var storeID string
	if err := s.Pool.QueryRow(ctx, `select store_id from upload where evidence_id = $1`, id).Scan(&storeID); err != nil {
		return "", err
	}
	have, err := s.store.ListParts(ctx, rec.ObjectKey, storeID)
	if err != nil {
		return "", err
	}
	return rec.ObjectKey, s.store.Complete(ctx, rec.ObjectKey, storeID, have)
}

// commit seals a record as if the store had said that it holds the bytes.
func (s *sealer) commit(ctx context.Context, u brought) error {
	now := time.Now()
	return s.Log.Do(ctx, func(ctx context.Context, tx *pg.Tx) error {
		return s.Evidence.Seal(ctx, tx, evidence.ID(u.evidence), evidence.Sealed{Parts: 1, Check: "attested", RetainUntil: now.Add(lockedUntil), At: now})
	})
}

func (s *sealer) ask(ctx context.Context, u brought) error {
	_, err := s.store.Head(ctx, u.object)
	return err
}

func (s *sealer) complete(ctx context.Context, u brought) error {
	got, err := s.CompleteUpload(ctx, s.station, u.upload)
	if err == nil && got.State != ingest.UploadSealed {
		err = fmt.Errorf("upload is %s", got.State)
	}
	return err
}

// atOnce does each, some at once, and gives how many a second.
func atOnce(ctx context.Context, all []brought, do func(context.Context, brought) error) (float64, error) {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	begun := time.Now()
	for range sealers {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(all) {
					return nil
				}
				if err := do(ctx, all[i]); err != nil {
					return err
				}
			}
		})
	}
	err := g.Wait()
	return float64(len(all)) / time.Since(begun).Seconds(), err
}
