package sim

import "math"

// sky with a bank of soft clouds.
func (c *canvas) sky(w, h float64, top, bottom, cloud rgb, cover float64) {
	c.rect(func(x, y float64) rgb {
		base := mix(top, bottom, y/h)
		n := 0.65*grain(x/3.2, y/1.5) + 0.35*grain(x/1.1+90, y/0.6)
		return mix(base, cloud, (n-0.62+cover)*3.2*(1-0.5*y/h))
	}, 0, 0, w, h)
}

// hills is one ridge of wooded hills; haze is the colour of the air in front of it.
func (c *canvas) hills(w, base, height, bottom, seed float64, wood, haze rgb, hazy float64) {
	pts := []pt{{0, bottom}}
	for x := 0.0; x <= w+8; x += 4 {
		pts = append(pts, pt{x, base - height*(0.5+0.5*ridge(x, seed))})
	}
	pts = append(pts, pt{w + 8, bottom})
	c.poly(func(x, y float64) rgb {
		n := 0.5*grain(x*1.3+seed*40, y*2.1) + 0.5*grain(x/2, y/1.2+seed*9)
		col := wood.mul(0.7 + 0.75*n)
		return mix(col, haze, hazy+(1-hazy)*0.45*(y-base+height)/(bottom-base+height))
	}, 1, pts...)
}

// tree stands on y; h is its height.
func (c *canvas) tree(x, y, h float64, leaf rgb) {
	c.glow(rgb{10, 14, 10}, 0.5, x+h*0.06, y, h*0.38, h*0.06)
	trunk := hex(0x5a4a38)
	c.poly(down(y-h*0.5, y, trunk.mul(0.7), trunk), 1, pt{x - h*0.035, y}, pt{x - h*0.02, y - h*0.6}, pt{x + h*0.02, y - h*0.6}, pt{x + h*0.04, y})
	for i := range 90 {
		t := float64(i) / 90
		a, d := c.r.Float64()*2*math.Pi, math.Sqrt(c.r.Float64())
		cx, cy := x+math.Cos(a)*d*h*0.34, y-h*0.66+math.Sin(a)*d*h*0.32
		light := 0.55 + 0.35*t - 0.5*(cy-(y-h*0.66))/h - 0.25*(cx-x)/h
		col := leaf.mul(c.around(light, 0.1))
		c.ellipse(flat(col), 0.9, cx, cy, h*c.around(0.055, 0.02), h*c.around(0.045, 0.015))
	}
}

// conifer is a Chinese fir, as the county's slopes are full of.
func (c *canvas) conifer(x, y, h float64, leaf rgb) {
	c.rect(flat(hex(0x4b3d2e)), x-h*0.015, y-h*0.12, h*0.03, h*0.12)
	for i := range 11 {
		t := float64(i) / 10
		w, top := h*0.2*(1-t)+2, y-h*0.1-h*0.85*t
		col := leaf.mul(c.around(0.62+0.4*t, 0.08))
		c.poly(flat(col), 1, pt{x - w, top + h*0.02}, pt{x - w*0.2, top - h*0.1}, pt{x, top - h*0.16}, pt{x + w*0.2, top - h*0.1}, pt{x + w, top + h*0.03}, pt{x, top - h*0.02})
		c.poly(flat(col.mul(0.75)), 0.6, pt{x, top - h*0.14}, pt{x + w, top + h*0.03}, pt{x + w*0.1, top - h*0.02})
	}
}

// bush is a clump at the foot of things.
func (c *canvas) bush(x, y, w float64, leaf rgb) {
	for range 26 {
		dx := c.around(0, 0.5) * w
		c.ellipse(flat(leaf.mul(c.around(0.85, 0.25))), 0.95, x+dx, y-c.r.Float64()*w*0.3*(1-math.Abs(dx)/w), w*c.around(0.1, 0.04), w*c.around(0.08, 0.03))
	}
}

// grass scatters blades over a band of ground.
func (c *canvas) grass(w, y0, y1 float64, n int, leaf rgb) {
	for range n {
		x, y := c.r.Float64()*w, y0+c.r.Float64()*(y1-y0)
		h := 3 + 7*(y-y0)/(y1-y0+1)
		c.line(flat(leaf.mul(c.around(0.9, 0.3))), 1, pt{x, y}, pt{c.around(x, 4), y - h*c.around(1, 0.4)})
	}
}

// terraces are fields in steps, with straw on them or young crops.
func (c *canvas) terraces(w, y0, y1, seed float64, crops ...uint32) {
	rows := 7
	for i := range rows {
		t := float64(i) / float64(rows)
		top := y0 + (y1-y0)*t*t
		col := hex(crops[i%len(crops)])
		pts := []pt{{-4, y1 + 200}}
		for x := -4.0; x <= w+4; x += 12 {
			pts = append(pts, pt{x, top + 9*(1+t)*math.Sin(x/170+seed+float64(i)*1.7) + 4*math.Sin(x/47+float64(i))})
		}
		pts = append(pts, pt{w + 4, y1 + 200})
		step := 3 + 5*t
		c.poly(func(x, y float64) rgb {
			row := 0.93 + 0.1*math.Sin((y-top)/step*2*math.Pi*0.5+3*grain(x/9, float64(i)*31))
			return col.mul(row * (0.8 + 0.45*grain(x*1.4, y*3)))
		}, 1, pts...)
		for j := 1; j+2 < len(pts); j++ { // the bank of the step
			c.line(flat(hex(0x55603a).mul(c.around(0.8, 0.15))), 2+3*t, pts[j], pts[j+1])
		}
	}
}

// pebbles cover a river bank.
func (c *canvas) pebbles(w, y0, y1 float64, n int) {
	for range n {
		t := c.r.Float64()
		y := y0 + (y1-y0)*t
		s := 1 + 7*t*c.r.Float64()
		col := c.pick(0x9a968c, 0x86827a, 0xb3ada0, 0x746f66, 0xa39a88)
		x := c.r.Float64() * w
		c.ellipse(flat(rgb{40, 38, 34}), 0.5, x+1, y+s*0.4, s*1.1, s*0.5)
		c.ellipse(down(y-s, y+s, col.mul(1.15), col.mul(0.75)), 1, x, y, s, s*0.6)
	}
}

// water is calm and reflects what colour is above it; the frames move its rows.
func (c *canvas) water(w, y0, y1 float64, far, near rgb) {
	c.rect(func(x, y float64) rgb {
		t := (y - y0) / (y1 - y0)
		n := grain(x/(1.5+4*t), y*(3-2*t))
		return mix(far, near, t).mul(0.86 + 0.3*n).mul(1 + 0.12*max(0, grain(x/2+50, y*4)-0.62)*6)
	}, 0, y0, w, y1-y0)
}

// smoky is a puff for the smoke of a straw fire.
func smoky(size int, col rgb, strength float64) *picture {
	p := newPicture(size, size)
	for y := range size {
		for x := range size {
			dx, dy := (float64(x)+0.5)/float64(size)*2-1, (float64(y)+0.5)/float64(size)*2-1
			d := 1 - dx*dx - dy*dy
			if d <= 0 {
				continue
			}
			a := strength * d * d * (0.5 + grain(float64(x)*1.7+float64(size), float64(y)*1.7))
			q := p.pix[(y*size+x)*4:]
			q[0], q[1], q[2], q[3] = clamp8(col.r*a), clamp8(col.g*a), clamp8(col.b*a), clamp8(255*a)
		}
	}
	return p
}
