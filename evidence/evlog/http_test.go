package evlog_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/evlogtest"
	"zhizheng/internal/testenv"
)

func get(t *testing.T, url string) (int, http.Header, string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(b)
}

// A stranger with nothing but the address and the key reads the whole log over HTTP and finds it whole.
func TestStrangerReadsTheLog(t *testing.T) {
	pool := testenv.Pool(t)
	l := evlogtest.Log(t, pool)
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	if code, _, _ := get(t, srv.URL+"/log/checkpoint"); code != 404 {
		t.Errorf("checkpoint of an empty log: %d", code)
	}
	const n = 700
	var es []chain.Entry
	for i := range n {
		es = append(es, viewed(fmt.Sprint("k", i), fmt.Sprint("ev", i%9), "u"))
	}
	add(t, l, pool, es...)
	receipt(t, l, "k699")

	_, _, vkey := get(t, srv.URL+"/log/vkey")
	v, err := chain.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	_, h, signed := get(t, srv.URL+"/log/checkpoint")
	if !strings.HasPrefix(h.Get("Content-Type"), "text/plain") {
		t.Errorf("checkpoint headers %v", h)
	}
	c, err := chain.OpenCheckpoint([]byte(signed), v)
	if err != nil || c.Size != n {
		t.Fatalf("%+v %v", c, err)
	}
	var leaves [][]byte
	for idx := range int64(n/256 + 1) {
		w := int(min(256, n-idx*256))
		code, h, b := get(t, srv.URL+"/log/"+chain.EntriesPath(idx, w))
		if code != 200 || !strings.Contains(h.Get("Cache-Control"), "immutable") {
			t.Fatalf("entries %d: %d %v", idx, code, h)
		}
		part, err := chain.SplitBundle([]byte(b))
		if err != nil || len(part) != w {
			t.Fatal(err)
		}
		leaves = append(leaves, part...)
	}
	tiles := chain.Tiles(func(level int, idx int64, width int) ([]byte, error) {
		code, _, b := get(t, srv.URL+"/log/"+chain.TilePath(level, idx, width))
		if code != 200 {
			return nil, fmt.Errorf("tile: %d", code)
		}
		return []byte(b), nil
	})
	// Two implementations that are not ours check the proofs: x/mod's tile reader and transparency-dev's verifier.
	r := tlog.TileHashReader(tlog.Tree{N: c.Size, Hash: c.Root}, tiles)
	for _, i := range []int64{0, 255, 256, 511, 512, 699} {
		p, err := tlog.ProveRecord(c.Size, i, r)
		if err != nil {
			t.Fatal(err)
		}
		hashes := make([][]byte, len(p))
		for j := range p {
			hashes[j] = p[j][:]
		}
		leaf := rfc6962.DefaultHasher.HashLeaf(leaves[i])
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(i), n, leaf, hashes, c.Root[:]); err != nil {
			t.Errorf("leaf %d: %v", i, err)
		}
	}
	if root, err := chain.RootFromTiles(n, tiles); err != nil || root != c.Root {
		t.Errorf("root from tiles: %v", err)
	}
	for _, path := range []string{
		"tile/0/003", "tile/0/002.p/200", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/0", "tile/00/000", "tile/1/000.p/3", "tile/8/000",
		"tile/entries/002", "tile/0/x000/000", "", "tile/../checkpoint", "tile/0/-01", "tile/0/+01",
	} {
		if code, _, _ := get(t, srv.URL+"/log/"+path); code != 404 {
			t.Errorf("%s: %d", path, code)
		}
	}
	// What lies behind a checkpoint that grew stays readable as it was.
	if code, _, _ := get(t, srv.URL+"/log/"+chain.TilePath(0, 2, 17)); code != 200 {
		t.Errorf("older partial tile: %d", code)
	}
	res, err := http.Post(srv.URL+"/log/checkpoint", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 405 {
		t.Errorf("POST: %d", res.StatusCode)
	}
}

// One bit flipped in any column of the log's tables is found by the audit.
func TestAuditFindsAnyFlippedBit(t *testing.T) {
	url := testenv.DatabaseURL(t)
	pool := open(t, url)
	l := evlogtest.Log(t, pool)
	var es []chain.Entry
	for i := range 300 {
		es = append(es, viewed(fmt.Sprint("k", i), fmt.Sprint("ev", i%5), "u"))
	}
	add(t, l, pool, es...)
	receipt(t, l, "k299")
	testenv.Eventually(t, 5*time.Second, func() bool {
		s, err := l.Status(t.Context())
		return err == nil && s.Published == s.Size
	})
	sound(t, l)
	own := owner(t, url)
	flips := map[string]string{
		"leaf bytes":        `update log_entry set bytes = set_bit(bytes, 77, 1 - get_bit(bytes, 77)) where seq = 17`,
		"leaf hash":         `update log_entry set leaf_hash = set_bit(leaf_hash, 3, 1 - get_bit(leaf_hash, 3)) where seq = 290`,
		"key":               `update log_entry set key = 'k4O' where key = 'k40'`,
		"key sum":           `update log_entry set key_sum = set_bit(key_sum, 3, 1 - get_bit(key_sum, 3)) where seq = 2`,
		"subject":           `update log_entry set subject = set_bit(subject, 3, 1 - get_bit(subject, 3)) where seq = 2`,
		"counter":           `update log_entry set counter = counter # 4096 where seq = 2`,
		"salt":              `update log_payload set salt = set_bit(salt, 9, 1 - get_bit(salt, 9)) where seq = 2`,
		"payload":           `update log_payload set payload = set_bit(payload, 9, 1 - get_bit(payload, 9)) where seq = 2`,
		"tile hashes":       `update log_tile set hashes = set_bit(hashes, 900, 1 - get_bit(hashes, 900))`,
		"tile root":         `update log_tile set root = set_bit(root, 9, 1 - get_bit(root, 9))`,
		"tile place":        `update log_tile set idx = 1`,
		"head size":         `update log_head set size = size # 1`,
		"head edge":         `update log_head set edge = set_bit(edge, 9, 1 - get_bit(edge, 9))`,
		"published size":    `update log_publisher set size = size # 1`,
		"published root":    `update log_publisher set root = set_bit(root, 9, 1 - get_bit(root, 9))`,
		"published note":    `update log_publisher set note = overlay(note placing chr(ascii(substr(note, length(note)-5, 1)) # 1) from length(note)-5 for 1)`,
		"kept note":         `update log_checkpoint set note = replace(note, E'\n300\n', E'\n301\n')`,
		"kept size":         `update log_checkpoint set size = size # 512`,
		"a leaf more":       `insert into log_entry select 300, 'more', key_sum, subject, 999, leaf_hash, bytes from log_entry where seq = 1`,
		"last leaf missing": `with p as (delete from log_payload where seq = 299 returning seq) select seq from p`,
	}
	for name, sql := range flips {
		t.Run(name, func(t *testing.T) {
			exec(t, own, `create schema keep`)
			for _, table := range []string{"log_entry", "log_payload", "log_tile", "log_head", "log_publisher", "log_checkpoint"} {
				exec(t, own, `create table keep.`+table+` as table public.`+table)
			}
			exec(t, own, sql)
			if name == "last leaf missing" {
				exec(t, own, `delete from log_entry where seq = 299`)
			}
			rep, err := l.Audit(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(rep.Findings) == 0 {
				t.Error("nothing found")
			}
			exec(t, own, `truncate log_payload, log_entry, log_tile, log_head, log_publisher, log_checkpoint`)
			for _, table := range []string{"log_entry", "log_payload", "log_tile", "log_head", "log_publisher", "log_checkpoint"} {
				exec(t, own, `insert into public.`+table+` table keep.`+table)
			}
			exec(t, own, `drop schema keep cascade`)
		})
	}
	sound(t, l)
}
