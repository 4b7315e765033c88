package sim

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
)

// ss is how much finer canvases are drawn than shown; the averaging makes edges smooth.
const ss = 2

// rgb is a colour, 0–255 a channel.
type rgb struct{ r, g, b float64 }

func hex(v uint32) rgb { return rgb{float64(v >> 16), float64(v >> 8 & 255), float64(v & 255)} }

func (c rgb) mul(f float64) rgb { return rgb{c.r * f, c.g * f, c.b * f} }

func mix(a, b rgb, t float64) rgb {
	t = max(0, min(1, t))
	return rgb{a.r + (b.r-a.r)*t, a.g + (b.g-a.g)*t, a.b + (b.b-a.b)*t}
}

// paint is a colour by place, in shown pixels.
type paint func(x, y float64) rgb

func flat(c rgb) paint { return func(_, _ float64) rgb { return c } }

// down is a vertical gradient.
func down(y0, y1 float64, a, b rgb) paint {
	return func(_, y float64) rgb { return mix(a, b, (y-y0)/(y1-y0)) }
}

// rough adds grain to a paint: scale is the size of the grains, amount how strong they are.
func rough(p paint, scale, amount float64) paint {
	return func(x, y float64) rgb { return p(x, y).mul(1 + amount*(grain(x/scale, y/scale)-0.5)*2) }
}

// picture is premultiplied RGBA.
type picture struct {
	w, h int
	pix  []uint8
}

func newPicture(w, h int) *picture { return &picture{w, h, make([]uint8, w*h*4)} }

// canvas is a picture drawn ss times as large; coordinates are in shown pixels.
type canvas struct {
	*picture
	r *rand.Rand
}

func newCanvas(w, h int, r *rand.Rand) *canvas { return &canvas{newPicture(w*ss, h*ss), r} }

func clamp8(v float64) uint8 { return uint8(max(0, min(255, v))) }

// over lays a colour with opacity a over one fine pixel.
func (c *canvas) over(x, y int, col rgb, a float64) {
	if x < 0 || y < 0 || x >= c.w || y >= c.h || a <= 0 {
		return
	}
	p := c.pix[(y*c.w+x)*4:][:4]
	if a >= 1 {
		p[0], p[1], p[2], p[3] = clamp8(col.r), clamp8(col.g), clamp8(col.b), 255
		return
	}
	q := 1 - a
	p[0], p[1], p[2] = clamp8(col.r*a+float64(p[0])*q), clamp8(col.g*a+float64(p[1])*q), clamp8(col.b*a+float64(p[2])*q)
	p[3] = clamp8(255*a + float64(p[3])*q)
}

type pt struct{ x, y float64 }

// poly fills a polygon (even-odd).
func (c *canvas) poly(p paint, a float64, pts ...pt) {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, q := range pts {
		lo, hi = min(lo, q.y), max(hi, q.y)
	}
	var xs []float64
	for y := max(0, int(lo*ss)); y <= min(c.h-1, int(hi*ss)); y++ {
		fy := (float64(y) + 0.5) / ss
		xs = xs[:0]
		for i, q := range pts {
			s := pts[(i+1)%len(pts)]
			if (q.y <= fy) != (s.y <= fy) {
				xs = append(xs, q.x+(fy-q.y)/(s.y-q.y)*(s.x-q.x))
			}
		}
		slices.Sort(xs)
		for i := 0; i+1 < len(xs); i += 2 {
			for x := max(0, int(math.Round(xs[i]*ss))); x < min(c.w, int(math.Round(xs[i+1]*ss))); x++ {
				c.over(x, y, p(float64(x)/ss, fy), a)
			}
		}
	}
}

func (c *canvas) rect(p paint, x, y, w, h float64) {
	c.poly(p, 1, pt{x, y}, pt{x + w, y}, pt{x + w, y + h}, pt{x, y + h})
}

func (c *canvas) shade(x, y, w, h, a float64) {
	c.poly(flat(rgb{}), a, pt{x, y}, pt{x + w, y}, pt{x + w, y + h}, pt{x, y + h})
}

func (c *canvas) ellipse(p paint, a, cx, cy, rx, ry float64) {
	for y := int((cy - ry) * ss); y <= int((cy+ry)*ss); y++ {
		fy := (float64(y) + 0.5) / ss
		d := 1 - (fy-cy)*(fy-cy)/(ry*ry)
		if d <= 0 {
			continue
		}
		half := rx * math.Sqrt(d)
		for x := int(math.Round((cx - half) * ss)); x < int(math.Round((cx+half)*ss)); x++ {
			c.over(x, y, p(float64(x)/ss, fy), a)
		}
	}
}

// glow adds soft light or, with a dark colour, a soft shadow.
func (c *canvas) glow(col rgb, strength, cx, cy, rx, ry float64) {
	for y := int((cy - ry) * ss); y <= int((cy+ry)*ss); y++ {
		for x := int((cx - rx) * ss); x <= int((cx+rx)*ss); x++ {
			dx, dy := (float64(x)/ss-cx)/rx, (float64(y)/ss-cy)/ry
			if d := 1 - dx*dx - dy*dy; d > 0 {
				c.over(x, y, col, strength*d*d)
			}
		}
	}
}

func (c *canvas) line(p paint, width float64, a, b pt) {
	l := math.Hypot(b.x-a.x, b.y-a.y)
	if l == 0 {
		return
	}
	nx, ny := -(b.y-a.y)/l*width/2, (b.x-a.x)/l*width/2
	c.poly(p, 1, pt{a.x + nx, a.y + ny}, pt{b.x + nx, b.y + ny}, pt{b.x - nx, b.y - ny}, pt{a.x - nx, a.y - ny})
}

// around is a random number within d of v.
func (c *canvas) around(v, d float64) float64 { return v + (c.r.Float64()*2-1)*d }

func (c *canvas) pick(cols ...uint32) rgb { return hex(cols[c.r.IntN(len(cols))]) }

// done averages to shown pixels.
func (c *canvas) done() *picture {
	out := newPicture(c.w/ss, c.h/ss)
	for y := range out.h {
		for x := range out.w {
			for ch := range 4 {
				sum := 0
				for dy := range ss {
					for dx := range ss {
						sum += int(c.pix[((y*ss+dy)*c.w+x*ss+dx)*4+ch])
					}
				}
				out.pix[(y*out.w+x)*4+ch] = uint8(sum / (ss * ss))
			}
		}
	}
	return out
}

// stamp lays a text's mask onto a canvas.
func (c *canvas) stamp(m *mask, col rgb, x, y, height float64) {
	if m == nil || m.h == 0 {
		return
	}
	scale := float64(m.h) / (height * ss)
	for dy := range int(height * ss) {
		for dx := range int(float64(m.w) / scale) {
			sx, sy := int(float64(dx)*scale), int(float64(dy)*scale)
			c.over(int(x*ss)+dx, int(y*ss)+dy, col, float64(m.pix[sy*m.w+sx])/255)
		}
	}
}

// noise is a tile of smooth noise that repeats, made when first asked for, from a fixed seed.
const noiseSize = 256

var noise = sync.OnceValue(func() *[noiseSize * noiseSize]float64 {
	var t [noiseSize * noiseSize]float64
	r := rand.New(rand.NewPCG(7, 11))
	total := 0.0
	for octave, amp := 4, 1.0; octave <= 128; octave, amp = octave*2, amp*0.55 {
		lattice := make([]float64, octave*octave)
		for i := range lattice {
			lattice[i] = r.Float64()
		}
		total += amp
		for y := range noiseSize {
			for x := range noiseSize {
				fx, fy := float64(x)*float64(octave)/noiseSize, float64(y)*float64(octave)/noiseSize
				ix, iy := int(fx), int(fy)
				tx, ty := smooth(fx-float64(ix)), smooth(fy-float64(iy))
				at := func(x, y int) float64 { return lattice[(y%octave)*octave+x%octave] }
				top := at(ix, iy) + (at(ix+1, iy)-at(ix, iy))*tx
				bot := at(ix, iy+1) + (at(ix+1, iy+1)-at(ix, iy+1))*tx
				t[y*noiseSize+x] += amp * (top + (bot-top)*ty)
			}
		}
	}
	for i := range t {
		t[i] /= total
	}
	return &t
})

func smooth(t float64) float64 { return t * t * (3 - 2*t) }

// grain is the noise at a place, about 0.2–0.8.
func grain(x, y float64) float64 {
	return noise()[(int(math.Floor(y))&(noiseSize-1))*noiseSize+int(math.Floor(x))&(noiseSize-1)]
}

// ridge is a line of hills.
func ridge(x, seed float64) float64 {
	return 0.6*math.Sin(x/190+seed) + 0.3*math.Sin(x/83+seed*2.3) + 0.15*math.Sin(x/31+seed*5.1) + 0.5*(grain(x/3, seed*17)-0.5)
}
