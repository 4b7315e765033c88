package bundle_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"zhizheng/evidence/bundle"
)

func names(rep bundle.Report, where string) bool {
	return slices.ContainsFunc(rep.Failures, func(f bundle.Failure) bool { return f.Where == where && f.Zh != "" && f.En != "" })
}

// A bit flipped in the file as it lies there: the member is named.
func TestFlippedBitOfAMember(t *testing.T) {
	file, vkey := example(t)
	z, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	must(t, err)
	flip := func(t testing.TB, f *zip.File, bit int64) {
		off, err := f.DataOffset()
		must(t, err)
		bad := bytes.Clone(file)
		bad[off+bit/8] ^= 1 << (bit % 8)
		if rep := verify(t, bad, vkey); !names(rep, f.Name) {
			t.Fatalf("bit %d of %s: %+v", bit, f.Name, rep.Failures)
		}
	}
	var full []*zip.File
	for _, f := range z.File {
		if bits := int64(f.UncompressedSize64) * 8; bits > 0 {
			full = append(full, f)
			for _, bit := range []int64{0, 7, bits / 2, bits - 8, bits - 1} {
				flip(t, f, bit)
			}
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		f := rapid.SampledFrom(full).Draw(rt, "member")
		flip(t, f, rapid.Int64Range(0, int64(f.UncompressedSize64)*8-1).Draw(rt, "bit"))
	})
}

// A bit flipped by someone who then writes a proper zip with proper checksums.
func TestFlippedBitInAZipMadeAnew(t *testing.T) {
	file, vkey := example(t)
	all := members(t, file)
	if again, err := bundle.Zip(all); err != nil || !bytes.Equal(again, file) {
		t.Fatal("the same members make another zip")
	}
	var full []int
	for i, m := range all {
		if len(m.Body) > 0 {
			full = append(full, i)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		i := rapid.SampledFrom(full).Draw(rt, "member")
		bit := rapid.IntRange(0, len(all[i].Body)*8-1).Draw(rt, "bit")
		changed := slices.Clone(all)
		changed[i].Body = bytes.Clone(all[i].Body)
		changed[i].Body[bit/8] ^= 1 << (bit % 8)
		bad, err := bundle.Zip(changed)
		must(t, err)
		where := all[i].Name
		if where == bundle.ManifestName { // readable or not, it isn't the one that was logged
			where = bundle.ExportName
		}
		if rep := verify(t, bad, vkey); !names(rep, where) {
			rt.Fatalf("bit %d of %s: %+v", bit, all[i].Name, rep.Failures)
		}
	})
}

// What lies around the members: a bit of every third byte of the zip's headers, other ones each time; all bits of them in a long run.
func TestFlippedBitOfTheZipItself(t *testing.T) {
	file, vkey := example(t)
	z, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	must(t, err)
	content := make([]bool, len(file))
	for _, f := range z.File {
		off, err := f.DataOffset()
		must(t, err)
		for i := range int64(f.UncompressedSize64) {
			content[off+i] = true
		}
	}
	long := os.Getenv("ZZ_SOAK") != ""
	var bits []int
	for i := range file {
		switch {
		case content[i]:
		case long:
			for b := range 8 {
				bits = append(bits, i*8+b)
			}
		case rand.IntN(3) == 0:
			bits = append(bits, i*8+rand.IntN(8))
		}
	}
	missed := make([][]string, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for w := range missed {
		wg.Go(func() {
			bad := bytes.Clone(file)
			for i := w; i < len(bits); i += len(missed) {
				bit := bits[i]
				bad[bit/8] ^= 1 << (bit % 8)
				if rep := verify(t, bad, vkey); len(rep.Failures) == 0 || rep.Failures[0].Where == "" {
					missed[w] = append(missed[w], fmt.Sprintf("bit %d of byte %d (…%q)", bit%8, bit/8, file[max(0, bit/8-8):bit/8]))
				}
				bad[bit/8] ^= 1 << (bit % 8)
			}
		})
	}
	wg.Wait()
	if all := slices.Concat(missed...); len(all) > 0 {
		t.Fatalf("%d of %d flips not found, first: %s", len(all), len(bits), strings.Join(all[:min(5, len(all))], "; "))
	}
	t.Logf("%d bits of %d bytes around the members", len(bits), len(file))
}
