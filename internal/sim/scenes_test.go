package sim

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// Every scene fills its frame, moves, and holds while the wearer looks all the way around.
func TestScenesFillTheFrameAndMove(t *testing.T) {
	ts, err := typeset(t.Context(), chineseFont(t.Context()), signs)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []Scene{Street, Night, River, Straw, Building, Forest, Rubbish} {
		sc := paintScene(s, rand.New(rand.NewPCG(7, 5)), ts)
		f := newPicture(frameW, frameH)
		var before []byte
		for i := range 12 {
			sc.draw(f, camera{period: 24, walk: 1}, float64(i)*2.3)
			for p := 3; p < len(f.pix); p += 4 {
				if f.pix[p] != 255 {
					t.Fatalf("%s: a hole at pixel %d", s, p/4)
				}
			}
			if bytes.Equal(before, f.pix) {
				t.Errorf("%s stands still", s)
			}
			before = bytes.Clone(f.pix)
		}
	}
}
