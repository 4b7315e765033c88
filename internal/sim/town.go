package sim

// road with a dashed line, kerb and a strip of pavement above it.
func (c *canvas) road(w, kerb, bottom float64) {
	asphalt := hex(0x63666a)
	c.rect(rough(down(kerb, bottom, asphalt.mul(1.12), asphalt.mul(0.82)), 0.7, 0.22), 0, kerb, w, bottom-kerb)
	for x := -20.0; x < w; x += 118 {
		y := kerb + (bottom-kerb)*0.5
		c.poly(rough(flat(hex(0xd9d6c8)), 2, 0.2), 0.9, pt{x, y}, pt{x + 62, y}, pt{x + 56, y + 6}, pt{x - 8, y + 6})
	}
	c.rect(down(kerb-6, kerb+2, hex(0xc2bfb6), hex(0x8b8880)), 0, kerb-6, w, 8)
}

// pavement of slabs between y0 and y1, drawn closer together the further they are.
func (c *canvas) pavement(w, y0, y1 float64) {
	slab := hex(0xa9a59b)
	c.rect(rough(down(y0, y1, slab.mul(0.86), slab.mul(1.06)), 1.6, 0.16), 0, y0, w, y1-y0)
	for t := 0.0; t < 1; t += 0.2 {
		c.shade(0, y0+(y1-y0)*t*t, w, 1, 0.22)
	}
	for x := -w; x < 2*w; x += 34 {
		top := w/2 + (x-w/2)*0.86
		c.line(flat(slab.mul(0.72)), 0.8, pt{top, y0}, pt{x, y1})
	}
}

// window with its frame, a curtain of light in it.
func (c *canvas) window(x, y, w, h float64, lit bool) {
	glass := down(y, y+h, hex(0x6f8796), hex(0x39474f))
	if lit {
		glass = down(y, y+h, hex(0xffe0a0), hex(0xe0a95a))
	}
	c.rect(flat(hex(0xe4e2db)), x-2, y-2, w+4, h+4)
	c.rect(glass, x, y, w, h)
	c.poly(flat(rgb{255, 255, 255}), 0.16, pt{x, y}, pt{x + w*0.5, y}, pt{x + w*0.15, y + h}, pt{x, y + h})
	c.rect(flat(hex(0xd5d3cc)), x+w/2-1, y, 2, h)
	c.shade(x-2, y+h+2, w+4, 2, 0.3)
}

// shop is a house of two or three floors with a shop below; its sign carries a text.
func (c *canvas) shop(x, ground, w float64, floors int, sign *mask, night bool) {
	wall := c.pick(0xd8cfbd, 0xcfd3d1, 0xdcc9b0, 0xc9bca7, 0xd9d9d4, 0xc7cdb9)
	board := c.pick(0xa8281f, 0x1f5fa0, 0x1f7a4a, 0xb4691a, 0x7a1f57)
	h := 92 + float64(floors-1)*74
	top := ground - h
	c.rect(rough(down(top, ground, wall, wall.mul(0.86)), 2.4, 0.1), x, top, w, h)
	c.shade(x+w-5, top, 5, h, 0.18)
	for i := 1; i < floors; i++ {
		y := ground - 92 - float64(i)*74 + 18
		n := int(w / 52)
		for j := range n {
			c.window(x+(float64(j)+0.5)*w/float64(n)-15, y, 30, 36, night && c.r.IntN(3) == 0)
		}
		if c.r.IntN(2) == 0 { // an air conditioner
			c.rect(down(y+30, y+44, hex(0xe6e6e2), hex(0xb9b9b4)), x+w*0.5-8, y+34, 22, 15)
			c.ellipse(flat(hex(0x8b8d8d)), 1, x+w*0.5+1, y+41, 5, 5)
		}
		c.shade(x, y+56, w, 2, 0.16)
	}
	c.rect(down(top-9, top, hex(0x8b5144), hex(0x6c3a30)), x-5, top-9, w+10, 9) // eaves
	// the shop
	c.rect(down(ground-66, ground, hex(0x3b342c), hex(0x57493a)), x+6, ground-66, w-12, 66)
	if night {
		c.rect(down(ground-66, ground, hex(0xffedc2), hex(0xd79a4e)), x+6, ground-66, w-12, 66)
	}
	for row := range 3 { // shelves
		y := ground - 56 + float64(row)*18
		for sx := x + 10; sx < x+w-16; sx += 7 {
			col := c.pick(0xb8403a, 0xd8b04a, 0x4a7ab0, 0x5a9a5a, 0xe0ded6, 0xb07a4a)
			if !night {
				col = col.mul(0.62)
			}
			c.rect(flat(col), sx, y+c.around(3, 2), 5.5, 11)
		}
		c.shade(x+6, y+15, w-12, 2, 0.5)
	}
	if c.r.IntN(4) == 0 { // shut
		c.rect(func(_, y float64) rgb { return hex(0x9ba3a8).mul(0.85 + 0.2*float64(int(y)%6)/6) }, x+6, ground-66, w-12, 66)
	}
	c.rect(down(ground-92, ground-66, board.mul(1.15), board.mul(0.85)), x+2, ground-93, w-4, 27)
	if sign != nil && sign.h > 0 {
		height := 20.0
		width := float64(sign.w) * height / float64(sign.h)
		if width > w-16 {
			height, width = height*(w-16)/width, w-16
		}
		c.stamp(sign, hex(0xfff3c4), x+(w-width)/2, ground-80-height/2, height)
	}
	c.shade(x, ground-66, w, 5, 0.35)
}

// house is a farmhouse with a tiled roof.
func (c *canvas) house(x, ground, w, h float64) {
	wall := c.pick(0xe2ddd0, 0xd9d0bd, 0xcfc5ae)
	c.rect(rough(down(ground-h, ground, wall, wall.mul(0.82)), 2, 0.12), x, ground-h, w, h)
	c.rect(rough(flat(hex(0x8f8878)), 1, 0.2), x, ground-h*0.14, w, h*0.14)
	tile := hex(0x5b5e60)
	c.poly(func(px, py float64) rgb {
		return tile.mul(0.85 + 0.25*float64(int(px+py*0.15)%5)/5)
	}, 1, pt{x - 14, ground - h + 4}, pt{x + w*0.1, ground - h*1.42}, pt{x + w*0.9, ground - h*1.42}, pt{x + w + 14, ground - h + 4})
	c.shade(x, ground-h+4, w, 6, 0.35)
	c.rect(down(ground-h*0.66, ground, hex(0x6a4630), hex(0x4b3222)), x+w*0.44, ground-h*0.64, w*0.13, h*0.64)
	for _, f := range []float64{0.14, 0.7} {
		c.window(x+w*f, ground-h*0.7, w*0.16, h*0.3, false)
	}
}

// unfinished is a brick storey going up without a permit: scaffolding, bare columns, steel.
func (c *canvas) unfinished(x, ground, w float64) {
	brick := func(px, py float64) rgb {
		row := int(py / 7)
		shift := float64(row%2) * 8
		col := hex(0xa4593f).mul(0.82 + 0.36*grain(float64(int((px+shift)/16))*7.3, float64(row)*5.1))
		if int(py)%7 == 0 || int(px+shift)%16 == 0 {
			col = hex(0xb9afa0)
		}
		return col
	}
	h := 168.0
	c.rect(brick, x, ground-h*0.55, w, h*0.55)
	c.poly(brick, 1, pt{x, ground - h*0.55}, pt{x, ground - h*0.92}, pt{x + w*0.22, ground - h*0.92}, pt{x + w*0.3, ground - h*0.72}, pt{x + w*0.52, ground - h*0.7}, pt{x + w*0.56, ground - h*0.55})
	concrete := rough(flat(hex(0x9d9b95)), 1.5, 0.14)
	c.rect(concrete, x-8, ground-h*0.57, w+16, 8)
	for i := range 4 {
		cx := x + w*float64(i)/3 - 6
		c.rect(concrete, cx, ground-h, 12, h)
		for j := range 3 {
			c.line(flat(hex(0x6b4a36)), 1.2, pt{cx + 2 + float64(j)*4, ground - h}, pt{c.around(cx+2+float64(j)*4, 2), ground - h - 20})
		}
	}
	for _, f := range []float64{0.1, 0.42, 0.72} {
		c.rect(down(ground-h*0.45, ground-h*0.1, hex(0x2c2722), hex(0x463d33)), x+w*f, ground-h*0.44, w*0.16, h*0.32)
	}
	pole := flat(hex(0x8d8158))
	for px := x - 18; px <= x+w+18; px += 42 {
		c.line(pole, 3, pt{px, ground + 4}, pt{px + 2, ground - h*1.1})
	}
	for _, y := range []float64{0.3, 0.62, 0.95} {
		c.line(pole, 3, pt{x - 26, ground - h*y}, pt{x + w + 26, ground - h*y - 3})
	}
	net := hex(0x2f7d4f)
	c.poly(rough(flat(net), 0.6, 0.35), 0.62, pt{x + w*0.58, ground - h*0.98}, pt{x + w + 16, ground - h*0.98}, pt{x + w + 16, ground - h*0.34}, pt{x + w*0.6, ground - h*0.36})
}

// heap of bricks, sand or rubbish.
func (c *canvas) heap(x, y, w float64, n int, size float64, cols ...uint32) {
	c.glow(rgb{20, 18, 16}, 0.5, x, y, w*0.62, w*0.1)
	for i := range n {
		t := float64(i) / float64(n)
		dx := c.around(0, 0.5) * w * (1 - t*0.75)
		col := c.pick(cols...).mul(c.around(0.9, 0.2))
		px, py, s := x+dx, y-t*w*0.33-c.r.Float64()*4, size*c.around(1, 0.4)
		c.poly(flat(col), 1, pt{px - s, py}, pt{c.around(px-s*0.7, s*0.2), py - s*0.8}, pt{px + s*0.8, c.around(py-s*0.7, s*0.2)}, pt{px + s, py})
		c.poly(flat(rgb{}), 0.25, pt{px - s, py}, pt{px + s, py}, pt{px + s*0.9, py - s*0.25}, pt{px - s*0.9, py - s*0.2})
	}
}

// stall on the pavement: an umbrella over crates of fruit and vegetables.
func (c *canvas) stall(x, ground float64, colours [2]uint32) {
	c.glow(rgb{15, 15, 15}, 0.55, x+4, ground, 86, 13)
	c.rect(flat(hex(0x5e4630)), x-64, ground-34, 4, 34)
	c.rect(flat(hex(0x5e4630)), x+60, ground-34, 4, 34)
	c.rect(down(ground-40, ground-8, hex(0x8d6a45), hex(0x6b4e31)), x-68, ground-40, 136, 12)
	for i := range 4 {
		cx := x - 52 + float64(i)*34
		c.rect(flat(hex(0xb58d5c)), cx-15, ground-52, 30, 14)
		fruit := c.pick(0xd8442c, 0xe58a1f, 0x6aa63a, 0xd9c23c, 0x8a3c7a, 0xe0e3d6)
		for range 22 {
			fx, fy := c.around(cx, 13), ground-53-c.r.Float64()*9
			c.ellipse(down(fy-4, fy+4, fruit.mul(1.15), fruit.mul(0.75)), 1, fx, fy, 3.6, 3.4)
		}
	}
	for i := range 3 {
		cx := x - 40 + float64(i)*40
		c.rect(rough(flat(hex(0xa67c4c)), 1, 0.2), cx-16, ground-18, 32, 18)
		c.shade(cx-16, ground-10, 32, 2, 0.3)
	}
	c.rect(down(ground-190, ground-40, hex(0xc9ced1), hex(0x8f9598)), x-2, ground-176, 4, 140)
	n := 8
	for i := range n {
		t0, t1 := float64(i)/float64(n)*2-1, float64(i+1)/float64(n)*2-1
		col := hex(colours[i%2])
		c.poly(down(ground-190, ground-140, col.mul(1.1), col.mul(0.78)), 1, pt{x + t0*92, ground - 142 + 7*(1-t0*t0)}, pt{x + t0*24, ground - 188},
			pt{x + t1*24, ground - 188}, pt{x + t1*92, ground - 142 + 7*(1-t1*t1)})
	}
}

// lamp is a street lamp.
func (c *canvas) lamp(x, ground float64, on bool) {
	c.rect(flat(hex(0x7d8386)), x-2.5, ground-250, 5, 250)
	c.line(flat(hex(0x7d8386)), 4, pt{x, ground - 248}, pt{x + 42, ground - 262})
	c.rect(flat(hex(0x9aa0a3)), x+34, ground-266, 24, 7)
	if on {
		c.glow(hex(0xffe3a6), 0.85, x+46, ground-256, 26, 16)
		c.glow(hex(0xffd27a), 0.22, x+46, ground-170, 130, 150)
	}
}
