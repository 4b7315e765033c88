package chain_test

import (
	"reflect"
	"strings"
	"testing"

	"zhizheng/evidence/chain"
)

// filled sets every field of a payload struct to something, so that a sentence can't hide behind empty ones.
func filled(t *testing.T, k chain.Kind) []byte {
	t.Helper()
	empty, err := chain.EncodePayload(chain.NotePayload{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := chain.DecodePayload(k, empty)
	if err != nil { // its first field is no text: any map that decodes will do
		if p, err = chain.DecodePayload(k, []byte{0xa0}); err != nil {
			t.Fatalf("kind %d: %v", k, err)
		}
	}
	fill(reflect.ValueOf(p).Elem())
	b, err := chain.EncodePayload(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.String:
		v.SetString("x1")
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint64:
		v.SetUint(7)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte{1, 2, 3})
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i))
		}
	}
}

// Every kind of the registry has a payload that survives its encoding and a sentence with particulars in both languages.
func TestEveryKindHasPayloadAndSentence(t *testing.T) {
	names := map[string]chain.Kind{}
	last := chain.Kind(0)
	for _, i := range chain.Kinds() {
		if i.Kind <= last {
			t.Errorf("%s: numbers are not in order", i.Name)
		}
		last = i.Kind
		if other, twice := names[i.Name]; twice {
			t.Errorf("%s names %d and %d", i.Name, other, i.Kind)
		}
		names[i.Name] = i.Kind
		b := filled(t, i.Kind)
		p, err := chain.DecodePayload(i.Kind, b)
		if err != nil {
			t.Fatalf("%s: %v", i.Name, err)
		}
		if again, err := chain.EncodePayload(p); err != nil || string(again) != string(b) {
			t.Errorf("%s: payload doesn't survive its encoding: %v", i.Name, err)
		}
		zh, en := chain.Describe(i.Kind, b, false), chain.Describe(i.Kind, b, true)
		if !strings.HasPrefix(zh, i.Zh+"：") || !strings.HasPrefix(en, i.En+": ") {
			t.Errorf("%s: %q, %q tell no particulars", i.Name, zh, en)
		}
		if got := chain.Describe(i.Kind, nil, false); got != i.Zh {
			t.Errorf("%s without payload: %q", i.Name, got)
		}
		if got := chain.Describe(i.Kind, []byte{0xff}, true); got != i.En {
			t.Errorf("%s with an unreadable payload: %q", i.Name, got)
		}
	}
}
