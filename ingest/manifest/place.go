package manifest

import "errors"

// Place is what a signer states about its own chain, in a manifest or in a state. It has the shape that a bundle's reader asks for.
type Place = struct {
	State          bool
	Epoch, Counter uint64
	Hash           [32]byte
	Prev           []byte
	At             int64 // Unix milliseconds
	Checkpoint     []byte
	Recorder       string
	Closing        bool
}

// OpenPlace reads a signed manifest or a signed state and checks it by the signer's SubjectPublicKeyInfo.
func OpenPlace(raw, spki []byte) (Place, error) {
	key, err := keyOf(spki)
	if err != nil {
		return Place{}, err
	}
	bad := errors.New("the device's signature doesn't hold")
	if s, err := ParseState(raw); err == nil {
		if !s.Verify(key) {
			return Place{}, bad
		}
		return Place{State: true, Epoch: s.Epoch, Counter: s.Counter, Hash: [32]byte(append(s.Last, make([]byte, 32-len(s.Last))...)), At: s.At, Checkpoint: s.Checkpoint, Recorder: s.Recorder, Closing: s.Closing}, nil
	}
	m, err := Parse(raw)
	if err != nil {
		return Place{}, err
	}
	if !m.Verify(key) {
		return Place{}, bad
	}
	return Place{Epoch: m.Epoch, Counter: m.Counter, Hash: m.Hash, Prev: m.Prev, At: m.At, Checkpoint: m.Checkpoint, Recorder: m.Recorder}, nil
}
