package bundle_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"zhizheng/evidence/bundle"
	"zhizheng/evidence/chain"
	"zhizheng/ingest/manifest"
)

// witnessed is a bundle with cosignatures that was made once and must hold for ever, and a policy that asks for two of its three witnesses.
func witnessed(t testing.TB) (file []byte, trust chain.Policy) {
	t.Helper()
	dir := filepath.Join("testdata", "v1", "witnessed")
	file, err := os.ReadFile(filepath.Join(dir, "bundle.zip"))
	must(t, err)
	text, err := os.ReadFile(filepath.Join(dir, "trust.policy"))
	must(t, err)
	trust, err = chain.ParseTrust(string(text))
	must(t, err)
	return file, trust
}

func verifyBy(t testing.TB, file []byte, trust chain.Policy) bundle.Report {
	t.Helper()
	rep, err := bundle.Verify(bytes.NewReader(file), int64(len(file)), trust, manifest.Open)
	must(t, err)
	return rep
}

func TestWitnessedBundleOfVersion1Holds(t *testing.T) {
	file, trust := witnessed(t)
	if rep := verifyBy(t, file, trust); len(rep.Failures) != 0 || !rep.Witness.Met || rep.Witness.Have != 2 || len(rep.Records) != 4 {
		t.Fatalf("%+v", rep)
	}
	// A policy of strangers finds too few, whatever the bundle says of itself.
	strangers := trust
	strangers.Witnesses = slices.Clone(trust.Witnesses[2:])
	strangers.Groups = []chain.PolicyGroup{{Name: "g", Need: 1, Members: []string{strangers.Witnesses[0].Name}}}
	strangers.Rule = "g"
	rep := verifyBy(t, file, strangers)
	if len(rep.Failures) == 0 || rep.Witness.Met || !strings.Contains(rep.Failures[0].Zh, "见证未达到可信策略的门限") {
		t.Fatalf("%+v", rep)
	}
	// An old bundle, without witnesses, holds by its key and fails by a policy that asks for some.
	old, vkey := example(t)
	ask := trust
	ask.Logs = chain.LogPolicy(vkey).Logs
	if rep := verifyBy(t, old, ask); len(rep.Failures) == 0 || rep.Witness.Have != 0 {
		t.Fatalf("%+v", rep)
	}
}

// A bit of a signature line, in a zip made anew with a manifest to match: only the signatures themselves can tell. Who knows no witness
// finds it as well as who does.
func TestFlippedBitOfASignatureLine(t *testing.T) {
	file, trust := witnessed(t)
	alone := chain.LogPolicy(trust.Logs[0].VKey)
	all := members(t, file)
	var with []int
	for i, m := range all {
		if bytes.Contains(m.Body, []byte("\n\n")) && strings.HasSuffix(m.Name, ".tlog-proof") {
			with = append(with, i)
		}
	}
	lines := func(b []byte) int { return bytes.LastIndex(b, []byte("\n\n")) + 2 }
	flip := func(t testing.TB, i, bit int) {
		changed := cloned(all)
		changed[i].Body[lines(changed[i].Body)+bit/8] ^= 1 << (bit % 8)
		changed[0].Body = manifestOf(t, changed)
		bad, err := bundle.Zip(changed)
		must(t, err)
		for _, p := range []chain.Policy{trust, alone} {
			if rep := verifyBy(t, bad, p); !names(rep, all[i].Name) {
				t.Fatalf("bit %d of the signatures of %s: %+v", bit, all[i].Name, rep.Failures)
			}
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		i := rapid.SampledFrom(with).Draw(rt, "receipt")
		flip(t, i, rapid.IntRange(0, (len(all[i].Body)-lines(all[i].Body))*8-1).Draw(rt, "bit"))
	})
}

// The bundle's own list of witnesses has one spelling, and is needed for nothing but integrity.
func TestWitnessPolicyOfTheBundle(t *testing.T) {
	file, trust := witnessed(t)
	all := members(t, file)
	i := at(t, all, bundle.WitnessName)
	for what, text := range map[string]string{"a comment": "# x\n" + string(all[i].Body), "no policy": "hello\n", "nothing": ""} {
		changed := cloned(all)
		changed[i].Body = []byte(text)
		changed[0].Body = manifestOf(t, changed)
		bad, err := bundle.Zip(changed)
		must(t, err)
		if rep := verifyBy(t, bad, trust); !names(rep, bundle.WitnessName) {
			t.Errorf("%s: %+v", what, rep.Failures)
		}
	}
}
