package api

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"zhizheng/evidence"
	"zhizheng/evidence/bundle"
	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/ingest"
	"zhizheng/ingest/manifest"
)

// maxBetween is how far apart two leaves of a key may lie to be shown in one run, with all that lies between them.
const maxBetween = 5000

// signerShown is what a bundle shows of one key's chain.
type signerShown struct {
	keyID    []byte
	needed   map[string]bool // idempotency keys of leaves; true ones are disclosed
	disclose map[int64]bool  // by index
}

// bundleChains fills in.Chains and gives the leaves that it needs, closed ones without their content. What is disclosed: the exhibits'
// own manifests, the manifest at the other edge of a gap beside one (unless its record is restricted), anomalies and reasons there, the
// signer's newest state. Everything else of the key's chain stays closed.
func (s *Server) bundleChains(ctx context.Context, in *bundle.Input) ([]evlog.Leaf, error) {
	in.Chains = &bundle.Chains{}
	signers := map[string]*signerShown{}
	notes := map[string]bool{}
	for _, item := range in.Items {
		m, err := s.Log.BySeq(ctx, []int64{item.ManifestLeaf})
		if err != nil {
			return nil, err
		}
		if len(m) != 1 {
			return nil, fmt.Errorf("manifest's leaf %d is not there", item.ManifestLeaf)
		}
		place, err := placeOf(m[0])
		if err != nil {
			return nil, err
		}
		a, err := s.Ingest.Around(ctx, m[0].Key, place.KeyID)
		if err != nil {
			return nil, err
		}
		k := signers[string(place.KeyID)]
		if k == nil {
			k = &signerShown{keyID: place.KeyID, needed: map[string]bool{}, disclose: map[int64]bool{}}
			signers[string(place.KeyID)] = k
		}
		if err := s.around(ctx, k, a); err != nil {
			return nil, err
		}
		if a.Checkpoint != nil && !notes[string(a.Checkpoint)] {
			notes[string(a.Checkpoint)] = true
			in.Chains.Checkpoints = append(in.Chains.Checkpoints, a.Checkpoint)
		}
	}
	var all []evlog.Leaf
	for _, id := range slices.Sorted(maps.Keys(signers)) {
		key, leaves, err := s.signerRuns(ctx, signers[id])
		if err != nil {
			return nil, err
		}
		in.Chains.Keys = append(in.Chains.Keys, key)
		all = append(all, leaves...)
	}
	return all, nil
}

func (s *Server) around(ctx context.Context, k *signerShown, a ingest.Around) error {
	k.needed[a.Manifest] = true
	if a.State != "" {
		k.needed[a.State] = true
	}
	for _, o := range a.Odd {
		k.needed[o] = true
	}
	for _, e := range []*ingest.Edge{a.Before, a.After} {
		if e == nil {
			continue
		}
		shown := k.needed[e.LogKey]
		if e.Gap && !shown {
			recs, err := s.Evidence.Many(ctx, evidence.Scope{}, []string{string(e.EvidenceID)})
			if err != nil {
				return err
			}
			shown = len(recs) == 1 && !recs[0].Restricted
		}
		k.needed[e.LogKey] = shown
	}
	return nil
}

// signerRuns gives a key's runs and the leaves whose receipts go with them.
func (s *Server) signerRuns(ctx context.Context, k *signerShown) (bundle.Key, []evlog.Leaf, error) {
	out := bundle.Key{KeyID: hex.EncodeToString(k.keyID)}
	var at []uint64 // counters of the needed leaves in the log
	for key, disclosed := range k.needed {
		l, err := s.Log.ByKey(ctx, key)
		if err != nil {
			return out, nil, err
		}
		d, err := l.Decode()
		if err != nil {
			return out, nil, err
		}
		at = append(at, d.Counter)
		k.disclose[l.Seq] = disclosed
	}
	slices.Sort(at)
	if at[0] <= maxBetween {
		at = slices.Insert(at, 0, 1) // near enough to the enrolment to show the chain from its beginning
	}
	var proofs []evlog.Leaf
	for i := 0; i < len(at); {
		j := i
		for j+1 < len(at) && at[j+1]-at[j] <= maxBetween {
			j++
		}
		last := at[j]
		if j == len(at)-1 {
			last += maxBetween // on to the newest: what arrived late lies there
		}
		leaves, err := s.Log.SubjectBetween(ctx, ingest.KeySubject(k.keyID), at[i], last)
		if err != nil {
			return out, nil, err
		}
		run := bundle.Run{First: at[i]}
		for n, l := range leaves {
			run.Leaves = append(run.Leaves, l.Bytes)
			c, err := k.closed(l)
			if err != nil {
				return out, nil, err
			}
			if c != nil {
				out.Closed = append(out.Closed, *c)
			}
			switch {
			case k.disclose[l.Seq]:
				proofs = append(proofs, l)
			case n == len(leaves)-1: // it anchors the run
				l.Salt, l.Payload = nil, nil
				proofs = append(proofs, l)
			}
		}
		out.Runs = append(out.Runs, run)
		i = j + 1
	}
	return out, proofs, nil
}

// closed gives the place of a manifest that stays closed, nil for any other leaf.
func (k *signerShown) closed(l evlog.Leaf) (*bundle.Closed, error) {
	d, err := l.Decode()
	if err != nil || d.Kind != chain.KindManifest || (k.disclose[l.Seq] && l.Payload != nil) {
		return nil, err
	}
	c := &bundle.Closed{Leaf: d.Counter}
	if l.Payload == nil {
		return c, nil // erased
	}
	m, err := placeOf(l)
	if err != nil {
		return nil, err
	}
	c.Epoch, c.Counter = m.Epoch, m.Counter
	return c, nil
}

func placeOf(l evlog.Leaf) (manifest.Manifest, error) {
	p, err := chain.Payload[chain.ManifestPayload](l.Payload)
	if err != nil {
		return manifest.Manifest{}, err
	}
	m, err := manifest.Parse(p.Signed)
	return m.Manifest, err
}
