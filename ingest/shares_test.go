package ingest

import (
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"
)

// However many stations there are: each has one part, none more than it wants, the limit holds where it can, nothing lies idle that
// somebody wants, townships differ by no more than one where both want more, and urgent footage is served before any other.
func TestSharesAreFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []sending
		for i := range rapid.IntRange(0, 40).Draw(t, "stations") {
			all = append(all, sending{Station: fmt.Sprint("ST-", i), Township: fmt.Sprint(rapid.IntRange(0, 8).Draw(t, "township")),
				Want: rapid.IntRange(1, 9).Draw(t, "want"), Urgent: rapid.IntRange(0, 5).Draw(t, "luck") == 0})
		}
		limit := rapid.IntRange(1, 100).Draw(t, "limit")
		got := shares(limit, all)
		sum, wanted := 0, 0
		township, least := map[string]int{}, map[string]int{}
		more, urgent, calm := map[string]bool{}, false, false // townships with a calm station that wants more
		for _, s := range all {
			n := got[s.Station]
			if n < 1 || n > s.Want {
				t.Fatalf("%s has %d of %d", s.Station, n, s.Want)
			}
			sum, wanted = sum+n, wanted+s.Want
			township[s.Township] += n
			least[s.Township]++
			switch {
			case s.Urgent && n < s.Want:
				urgent = true
			case !s.Urgent && n < s.Want:
				more[s.Township] = true
			}
			calm = calm || !s.Urgent && n > 1
		}
		if sum > max(limit, len(all)) || sum < min(limit, wanted) {
			t.Fatalf("%d parts of %d, wanted %d", sum, limit, wanted)
		}
		if urgent && calm {
			t.Fatal("urgent footage waits behind other")
		}
		for _, s := range all {
			for poor := range more {
				if !s.Urgent && got[s.Station] > 1 && township[s.Township] > max(township[poor], least[s.Township])+1 {
					t.Fatalf("township %s has %d, %s has %d and wants more: %v", s.Township, township[s.Township], poor, township[poor], maps.Clone(got))
				}
			}
		}
	})
}
