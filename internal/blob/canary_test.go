package blob_test

import (
	"testing"

	"zhizheng/internal/blob"
	"zhizheng/internal/testenv"
)

// The embedded store keeps its canary through everything that can be tried, time and again, and nothing is left lying about.
func TestEmbeddedStoreKeepsItsCanary(t *testing.T) {
	o := testenv.StoreOptions(t)
	s, err := blob.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	var c blob.Canary
	for round := range 3 {
		r, err := blob.TryCanary(t.Context(), o, c)
		if err != nil {
			t.Fatal(err)
		}
		for _, st := range r.Steps {
			t.Logf("%-28s %-5t %s %s", st.Name, st.OK, st.Text, st.Got)
			if !st.OK {
				t.Errorf("%s: %s", st.Name, st.Got)
			}
		}
		if !r.Held || !r.Asked || r.Planted != (round == 0) || round > 0 && r.Canary != c {
			t.Errorf("round %d: %+v", round, r)
		}
		c = r.Canary
	}
}
