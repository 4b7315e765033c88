package chain

import "fmt"

// DecodePayload reads the payload of a kind; the result is a pointer to that kind's struct of payloads.go. Bytes that are not
// deterministic are refused; fields this version doesn't know are passed over.
func DecodePayload(k Kind, b []byte) (any, error) {
	info, ok := InfoOf(k)
	if !ok {
		return nil, fmt.Errorf("decode payload: kind %d is unknown", k)
	}
	p := info.fresh()
	if err := Deterministic(b); err != nil {
		return nil, fmt.Errorf("decode payload: %w", err)
	}
	if err := lenient.Unmarshal(b, p); err != nil {
		return nil, fmt.Errorf("decode payload of kind %d: %w", k, err)
	}
	return p, nil
}

// Payload reads a payload into the struct the caller expects: Payload[SealedPayload](b).
func Payload[T any](b []byte) (T, error) {
	var p T
	if err := Deterministic(b); err != nil {
		return p, fmt.Errorf("decode payload: %w", err)
	}
	if err := lenient.Unmarshal(b, &p); err != nil {
		return p, fmt.Errorf("decode payload: %w", err)
	}
	return p, nil
}
