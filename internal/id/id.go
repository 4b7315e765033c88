// Package id makes the platform's identifiers: ULIDs, sortable by creation, without any personal data in them.
package id

import (
	"strings"

	"github.com/oklog/ulid/v2"
)

// New gives a fresh ULID in upper case Crockford base 32, 26 characters.
func New() string { return ulid.Make().String() }

// Valid reports whether s is an id as New gives it.
func Valid(s string) bool {
	_, err := ulid.ParseStrict(s)
	return err == nil && s == strings.ToUpper(s)
}
