package sim

import (
	"math"
	"math/rand/v2"
)

// look is how a person is dressed.
type look struct{ hair, skin, coat, trousers rgb }

func someone(r *rand.Rand) look {
	coats := []uint32{0x7a2e2a, 0x2f4a6b, 0x4f5a3a, 0x8a7a5a, 0x3c3c44, 0xa8643a, 0x9aa4ac}
	return look{hex(0x2a2420), hex(0xd9ac86).mul(0.85 + 0.2*r.Float64()), hex(coats[r.IntN(len(coats))]), hex([]uint32{0x2a2d33, 0x454035, 0x39465a}[r.IntN(3)])}
}

// officer wears the dark blue of the county's squads, with a reflecting band.
func officer() look { return look{hex(0x1d2430), hex(0xd2a680), hex(0x24364f), hex(0x1f2835)} }

// person gives the pictures of one step, h pixels high, walking to the right; back makes a reflecting band and a cap.
func person(h float64, l look, band bool, phases int) []*picture {
	var out []*picture
	for i := range phases {
		c := newCanvas(int(h*0.62), int(h*1.04), rand.New(rand.NewPCG(1, uint64(i))))
		t := math.Sin(float64(i) / float64(phases) * 2 * math.Pi)
		x, top := h*0.31, h*0.02
		c.glow(rgb{}, 0.45, x, h*0.995, h*0.2, h*0.03)
		limb := func(col rgb, w float64, a, k, b pt) {
			c.line(flat(col), w, a, k)
			c.line(flat(col), w*0.85, k, b)
			c.ellipse(flat(col), 1, k.x, k.y, w*0.48, w*0.48)
		}
		hip, knee := h*0.52, h*0.75
		for _, s := range []float64{-1, 1} { // far leg first
			k := t * s * h * 0.055
			col := l.trousers.mul(0.85 + 0.15*s)
			foot := pt{x + 2.2*k - h*0.01, h*0.97 - math.Max(0, -t*s)*h*0.03}
			limb(col, h*0.082, pt{x, hip}, pt{x + k*1.1 + h*0.012, knee}, foot)
			c.ellipse(flat(hex(0x1c1a18)), 1, foot.x+h*0.022, h*0.98-math.Max(0, -t*s)*h*0.03, h*0.046, h*0.02)
		}
		limb(l.coat.mul(0.7), h*0.062, pt{x - h*0.02, h * 0.24}, pt{x - t*h*0.07 - h*0.02, h * 0.4}, pt{x - t*h*0.12 + h*0.03, h * 0.5})
		c.poly(down(h*0.17, h*0.56, l.coat.mul(1.1), l.coat.mul(0.82)), 1, pt{x - h*0.085, h * 0.19}, pt{x - h*0.03, h * 0.165}, pt{x + h*0.04, h * 0.165},
			pt{x + h*0.088, h * 0.2}, pt{x + h*0.085, h * 0.56}, pt{x - h*0.09, h * 0.56})
		if band {
			for _, y := range []float64{0.3, 0.42} {
				c.rect(flat(hex(0xd6dc5a)), x-h*0.088, h*y, h*0.174, h*0.026)
				c.rect(flat(hex(0xe9ebe6)), x-h*0.088, h*(y+0.008), h*0.174, h*0.009)
			}
		}
		limb(l.coat.mul(0.9), h*0.062, pt{x + h*0.01, h * 0.23}, pt{x + t*h*0.07, h * 0.39}, pt{x + t*h*0.12 + h*0.03, h * 0.5})
		c.ellipse(flat(l.skin), 1, x+t*h*0.12+h*0.035, h*0.515, h*0.025, h*0.028)
		c.rect(flat(l.skin.mul(0.85)), x-h*0.02, h*0.13, h*0.045, h*0.05)
		c.ellipse(down(top, top+h*0.14, l.skin.mul(1.05), l.skin.mul(0.88)), 1, x+h*0.008, h*0.085, h*0.052, h*0.066)
		c.poly(flat(l.hair), 1, pt{x - h*0.055, h * 0.1}, pt{x - h*0.056, h * 0.05}, pt{x - h*0.02, h * 0.015}, pt{x + h*0.035, h * 0.018}, pt{x + h*0.06, h * 0.055},
			pt{x + h*0.01, h * 0.06}, pt{x - h*0.015, h * 0.1})
		if band { // a cap
			c.ellipse(flat(hex(0x1b2638)), 1, x, h*0.035, h*0.062, h*0.032)
			c.ellipse(flat(hex(0x10161f)), 1, x+h*0.05, h*0.055, h*0.04, h*0.01)
		}
		out = append(out, c.done())
	}
	return out
}

// flip mirrors a picture: who walks right also walks left.
func flip(p *picture) *picture {
	q := newPicture(p.w, p.h)
	for y := range p.h {
		for x := range p.w {
			copy(q.pix[(y*p.w+p.w-1-x)*4:][:4], p.pix[(y*p.w+x)*4:][:4])
		}
	}
	return q
}

func (c *canvas) wheel(x, y, r float64) {
	c.ellipse(flat(hex(0x1b1b1c)), 1, x, y, r, r)
	c.ellipse(flat(hex(0x9da1a3)), 1, x, y, r*0.5, r*0.5)
	c.ellipse(flat(hex(0x55585a)), 1, x, y, r*0.22, r*0.22)
}

// van is a small van driving left.
func van(col uint32) *picture {
	c := newCanvas(230, 120, rand.New(rand.NewPCG(3, 3)))
	body := hex(col)
	c.glow(rgb{}, 0.55, 115, 112, 112, 10)
	c.poly(down(20, 104, body.mul(1.12), body.mul(0.72)), 1, pt{8, 100}, pt{8, 70}, pt{22, 62}, pt{52, 24}, pt{64, 18}, pt{214, 18}, pt{222, 26}, pt{224, 100})
	glass := down(26, 58, hex(0x9db4c0), hex(0x3d4d57))
	c.poly(glass, 1, pt{32, 60}, pt{58, 28}, pt{84, 28}, pt{84, 60})
	c.poly(glass, 1, pt{92, 60}, pt{92, 28}, pt{146, 28}, pt{146, 60})
	c.poly(glass, 1, pt{154, 60}, pt{154, 28}, pt{210, 28}, pt{212, 60})
	c.rect(flat(body.mul(0.6)), 8, 84, 216, 3)
	c.rect(flat(hex(0xf2ead0)), 9, 70, 13, 9)
	c.rect(flat(hex(0xa83226)), 217, 70, 7, 12)
	c.wheel(54, 100, 17)
	c.wheel(182, 100, 17)
	return c.done()
}

// tricycle is an electric cargo tricycle with goods, driving right.
func tricycle() *picture {
	c := newCanvas(200, 130, rand.New(rand.NewPCG(4, 4)))
	c.glow(rgb{}, 0.55, 100, 122, 96, 9)
	c.rect(down(62, 98, hex(0x3f7a58), hex(0x2a543c)), 10, 64, 98, 32)
	for range 40 {
		c.ellipse(flat(c.pick(0xb9a27a, 0x9a8a68, 0x7a9a5a, 0xc9b98a)), 1, c.around(58, 42), 62-c.r.Float64()*26, 8, 7)
	}
	c.rect(flat(hex(0x2a543c)), 106, 84, 52, 8)
	c.line(flat(hex(0x33383a)), 5, pt{150, 90}, pt{166, 44})
	c.line(flat(hex(0x33383a)), 4, pt{158, 46}, pt{176, 40})
	c.poly(flat(hex(0x3f7a58)), 1, pt{156, 96}, pt{160, 58}, pt{176, 66}, pt{182, 98})
	l := someone(c.r)
	c.poly(flat(l.trousers), 1, pt{116, 72}, pt{140, 70}, pt{152, 92}, pt{144, 96}, pt{132, 82}, pt{116, 84})
	c.poly(down(24, 74, l.coat.mul(1.1), l.coat.mul(0.8)), 1, pt{112, 74}, pt{118, 34}, pt{136, 32}, pt{142, 74})
	c.line(flat(l.coat.mul(0.85)), 8, pt{132, 40}, pt{164, 50})
	c.ellipse(flat(l.skin), 1, 130, 20, 10, 12)
	c.ellipse(flat(hex(0xd8c9a0)), 1, 129, 11, 18, 6) // straw hat
	c.wheel(34, 106, 18)
	c.wheel(92, 106, 18)
	c.wheel(174, 106, 18)
	return c.done()
}

// excavator stands on the bank with its arm at angle a.
func excavator(a float64) *picture {
	c := newCanvas(330, 210, rand.New(rand.NewPCG(5, 5)))
	yellow := hex(0xdca52a)
	c.glow(rgb{}, 0.5, 210, 198, 110, 10)
	c.poly(down(164, 198, hex(0x4a4744), hex(0x232120)), 1, pt{130, 170}, pt{144, 162}, pt{282, 162}, pt{296, 172}, pt{288, 196}, pt{140, 196})
	for i := range 7 {
		c.ellipse(flat(hex(0x6d6964)), 1, 148+float64(i)*21, 182, 8, 8)
	}
	elbow := pt{200 - 108*math.Cos(a), 120 - 108*math.Sin(a)}
	tip := pt{elbow.x - 66*math.Cos(a-1.5), elbow.y - 66*math.Sin(a-1.5)}
	c.line(down(20, 130, yellow.mul(1.1), yellow.mul(0.8)), 19, pt{206, 124}, elbow)
	c.line(flat(hex(0xb9bcbf)), 5, pt{196, 118}, pt{(200 + elbow.x) / 2, (120+elbow.y)/2 - 12})
	c.line(flat(yellow.mul(0.9)), 13, elbow, tip)
	c.ellipse(flat(hex(0x3a3632)), 1, elbow.x, elbow.y, 8, 8)
	c.poly(down(tip.y-8, tip.y+34, hex(0x6b6862), hex(0x3b3936)), 1, pt{tip.x - 12, tip.y - 6}, pt{tip.x + 12, tip.y - 4}, pt{tip.x + 20, tip.y + 20}, pt{tip.x - 4, tip.y + 32}, pt{tip.x - 22, tip.y + 16})
	c.rect(flat(hex(0x3a3835)), 176, 150, 80, 14)
	c.poly(down(96, 152, yellow.mul(1.12), yellow.mul(0.78)), 1, pt{170, 152}, pt{170, 118}, pt{240, 112}, pt{300, 112}, pt{306, 152})
	c.poly(down(70, 130, hex(0x9fb6c2), hex(0x4d606b)), 1, pt{186, 130}, pt{190, 78}, pt{236, 74}, pt{240, 128})
	c.line(flat(yellow.mul(0.7)), 5, pt{188, 130}, pt{191, 76})
	c.line(flat(yellow.mul(0.7)), 5, pt{238, 128}, pt{236, 74})
	c.rect(flat(yellow.mul(0.85)), 184, 70, 58, 7)
	c.rect(flat(hex(0x55504a)), 276, 96, 6, 18)
	return c.done()
}
