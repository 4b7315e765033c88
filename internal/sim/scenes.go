package sim

import (
	"math"
	"math/rand/v2"
)

// The picture of a clip, and how much larger its scenery is: the wearer looks around and walks.
const (
	frameW, frameH = 960, 540
	margin         = 14  // above and below, for the steps
	look0          = 420 // pixels to look around at the distance of the main layer
)

// Scene names what a clip shows.
type Scene string

// The scenes.
const (
	Street   Scene = "street"   // stalls outside the market
	Night    Scene = "night"    // the same after dark
	River    Scene = "river"    // digging gravel at a river
	Straw    Scene = "straw"    // straw burning on the terraces
	Building Scene = "building" // a storey without a permit
	Forest   Scene = "forest"   // timber on a forest track
	Rubbish  Scene = "rubbish"  // rubbish tipped beside a village road
)

// layer is scenery at one distance; it moves speed times as far as the camera.
type layer struct {
	pic    *picture
	rows   []spans
	speed  float64
	wave   [2]int // rows that move like water
	actors []actor
}

// actor draws itself in front of its layer; ox and oy are where the layer's corner is on the frame.
type actor func(f *picture, t, ox, oy float64)

type scenery struct {
	layers []*layer
	noise  string // ffmpeg's colour of the sound around: brown, pink
	loud   float64
}

func width(speed float64) int { return frameW + int(look0*speed) }

const height = frameH + 2*margin

// signs are the texts on the shops; the names are invented.
var signs = []string{"示例便民超市", "示例米粉店", "示例五金建材", "示例农资经营部", "示例药房", "示例理发店", "示例副食", "示例手机维修", "示例种子化肥"}

func paintScene(s Scene, r *rand.Rand, ts *typesetter) scenery {
	far := newCanvas(width(0.25), height, r)
	main := newCanvas(width(1), height, r)
	sc := scenery{noise: "brown", loud: 0.05}
	m := &layer{speed: 1}
	w := float64(width(1))
	switch s {
	case Night:
		backdrop(far, hex(0x26324a), hex(0x6b6272), hex(0x3a4258), hex(0x27332c), hex(0x4a5262))
		street(main, r, ts, true, m, w)
		sc.loud = 0.08
	case River:
		backdrop(far, hex(0x8fb4d4), hex(0xe3e9e6), hex(0xf4f5f2), hex(0x4d6b45), hex(0xc3d2d3))
		river(main, r, m, w)
		sc.noise, sc.loud = "pink", 0.05
	case Straw:
		backdrop(far, hex(0x9fb6c8), hex(0xe9dfc8), hex(0xefe9da), hex(0x62704a), hex(0xd0cdbb))
		straw(main, r, m, w)
	case Building:
		backdrop(far, hex(0x86aed3), hex(0xdfe7e4), hex(0xf6f6f3), hex(0x55733f), hex(0xb9cbd0))
		building(main, r, m, w)
	case Forest:
		backdrop(far, hex(0xaebfc4), hex(0xdde3dd), hex(0xe9ecea), hex(0x3f5c44), hex(0xcfd9d6))
		forest(main, r, m, w)
		sc.noise, sc.loud = "pink", 0.03
	case Rubbish:
		backdrop(far, hex(0x93b3cc), hex(0xe4e3d8), hex(0xf3f1ea), hex(0x587048), hex(0xc4cfcb))
		rubbish(main, r, m, w)
	default:
		backdrop(far, hex(0x7fabd6), hex(0xe2eaea), hex(0xf8f8f6), hex(0x557048), hex(0xbccdd4))
		street(main, r, ts, false, m, w)
		sc.loud = 0.09
	}
	m.pic = main.done()
	back := &layer{pic: far.done(), speed: 0.25}
	sc.layers = []*layer{back, m}
	for _, l := range sc.layers {
		l.rows = spansOf(l.pic)
	}
	return sc
}

// backdrop is sky and the hills that stand around every place of the county.
func backdrop(c *canvas, top, bottom, cloud, wood, haze rgb) {
	w := float64(c.w) / ss
	c.sky(w, 330, top, bottom, cloud, 0.06)
	seed := c.r.Float64() * 9
	c.hills(w, 262, 120, 360, seed, wood, haze, 0.62)
	c.hills(w, 300, 92, 400, seed+3.3, wood, haze, 0.4)
	c.hills(w, 336, 70, height, seed+6.1, wood.mul(0.95), haze, 0.16)
}

func street(c *canvas, r *rand.Rand, ts *typesetter, night bool, m *layer, w float64) {
	ground := 398.0
	order := r.Perm(len(signs))
	for i, x := 0, -30.0; x < w; i++ {
		if i%4 == 3 { // a lane between the houses
			c.rect(down(300, ground, hex(0x7c8a78), hex(0x8f8d80)), x, ground-60, 46, 60)
			c.tree(x+22, ground, 150, hex(0x5f8a48))
			x += 46
			continue
		}
		sw := c.around(168, 26)
		c.shop(x, ground, sw, 2+r.IntN(2), ts.of(signs[order[i%len(order)]]), night)
		x += sw + 2
	}
	c.pavement(w, ground, 452)
	c.road(w, 456, height)
	if night {
		dusk(c)
	}
	for x := 90.0; x < w; x += 390 {
		c.lamp(x, 452, night)
	}
	cols := [][2]uint32{{0xb8322a, 0xe9e4d6}, {0x2a5d9a, 0xe9e4d6}, {0x2f7d4f, 0xf0ead8}}
	for i, x := range []float64{250, 470, 905, 1110} {
		c.stall(x, 470+float64(i%2)*10, cols[i%3])
		if night {
			c.glow(hex(0xffdf9a), 0.35, x, 395, 130, 90)
		}
	}
	trike, car := tricycle(), van(0xe8e8e4)
	if night {
		darken(trike, 0.5)
		darken(car, 0.55)
	}
	m.actors = append(m.actors,
		walker(r, 150, someone(r), false, 60, 492, 26, night),
		walker(r, 146, someone(r), false, 1130, 488, -22, night),
		walker(r, 158, someone(r), false, 700, 506, -3, night),
		passing([]*picture{trike}, -240, 420, 62, 2), passing([]*picture{car}, 1900, 446, -95, 9),
		walker(r, 235, officer(), true, 330, 560, 34, night))
}

// dusk darkens what is drawn, but for what shines by itself.
func dusk(c *canvas) {
	for i := 0; i < len(c.pix); i += 4 {
		r, g, b := float64(c.pix[i]), float64(c.pix[i+1]), float64(c.pix[i+2])
		lit := max(0, min(1, (r-1.35*b)/70)) * max(0, min(1, (r-150)/50))
		c.pix[i] = clamp8(r * (0.34 + 0.66*lit))
		c.pix[i+1] = clamp8(g * (0.36 + 0.64*lit))
		c.pix[i+2] = clamp8(b * (0.48 + 0.52*lit))
	}
}

func darken(p *picture, f float64) {
	for i := range p.pix {
		if i%4 != 3 {
			p.pix[i] = uint8(float64(p.pix[i]) * f)
		}
	}
}

func river(c *canvas, r *rand.Rand, m *layer, w float64) {
	for x := -20.0; x < w; x += c.around(46, 18) {
		c.tree(x, 352, c.around(82, 22), c.pick(0x58803f, 0x668a48, 0x4d7440))
	}
	c.rect(rough(flat(hex(0x79805c)), 2, 0.3), 0, 350, w, 8)
	c.water(w, 356, 446, hex(0x8fb0ac), hex(0x5f8a88))
	m.wave = [2]int{357, 446}
	bank := hex(0xa59f92)
	pts := []pt{{0, height}}
	for x := 0.0; x <= w+10; x += 10 {
		pts = append(pts, pt{x, 440 + 8*math.Sin(x/120) + 5*grain(x/4, 3)})
	}
	pts = append(pts, pt{w + 10, height})
	c.poly(rough(down(436, height, bank.mul(0.88), bank), 0.8, 0.3), 1, pts...)
	c.pebbles(w, 448, height, 2600)
	c.heap(360, 486, 190, 420, 5, 0x9a968c, 0x86827a, 0xb3ada0, 0x8f877a)
	c.heap(1010, 492, 150, 320, 5, 0x9a968c, 0x86827a, 0xb3ada0, 0x8f877a)
	for _, x := range []float64{40, 1270} {
		c.bush(x, 520, 120, hex(0x65894a))
	}
	var arms []*picture
	for i := range 12 {
		arms = append(arms, excavator(0.62+0.22*math.Sin(float64(i)/12*2*math.Pi)))
	}
	m.actors = append(m.actors,
		func(f *picture, t, ox, oy float64) { f.put(arms[int(t*2.4)%len(arms)], 560+ox, 300+oy) },
		walker(r, 150, look{hex(0xd8b02a), hex(0xc99a70), hex(0x6a6a5a), hex(0x3a3a40)}, false, 500, 516, 3, false),
		walker(r, 235, officer(), true, 180, 556, 27, false))
}

func straw(c *canvas, r *rand.Rand, m *layer, w float64) {
	c.house(150, 366, 150, 74)
	c.house(980, 360, 130, 66)
	for _, x := range []float64{90, 330, 380, 900, 1150, 1220} {
		c.tree(x, 372, c.around(96, 20), c.pick(0x6f8a44, 0x7d9148, 0x5f7c40))
	}
	c.terraces(w, 366, 520, r.Float64()*6, 0xc2aa68, 0xb59a5a, 0x8f9a55, 0xc9b274, 0xa58c4f)
	c.grass(w, 470, height, 900, hex(0xb7a15e))
	for range 46 { // straw in stooks, and what has burned
		x, t := c.r.Float64()*w, c.r.Float64()
		y, s := 400+130*t, 9+15*t
		c.poly(rough(flat(hex(0xd6bd77)), 0.7, 0.3), 1, pt{x - s*0.5, y}, pt{x - s*0.12, y - s*1.2}, pt{x + s*0.12, y - s*1.2}, pt{x + s*0.5, y})
	}
	fires := []pt{{430, 452}, {640, 476}, {790, 444}}
	for _, q := range fires {
		c.glow(rgb{18, 16, 14}, 0.9, q.x, q.y, 70, 14)
	}
	var puffs []*picture
	for i := range 6 {
		puffs = append(puffs, smoky(44+i*26, hex(0xd3d0c9), 0.42-0.045*float64(i)))
	}
	fire := smoky(30, hex(0xff8a2a), 0.9)
	hot := smoky(18, hex(0xffe08a), 1)
	m.actors = append(m.actors,
		func(f *picture, t, ox, oy float64) {
			for i, q := range fires {
				for j := range 5 {
					fl := math.Sin(t*9+float64(i*7+j*3)) * 4
					f.put(fire, q.x-44+float64(j)*17+ox, q.y-22+fl+oy)
					f.put(hot, q.x-38+float64(j)*17+ox, q.y-12+fl*0.6+oy)
				}
				for j := range 14 {
					age := math.Mod(t*0.16+float64(j)/14+float64(i)*0.31, 1)
					p := puffs[min(int(age*6), 5)]
					x := q.x + 150*age*age + 22*math.Sin(float64(j)*2.1+age*5)
					y := q.y - 14 - 260*age
					f.put(p, x-float64(p.w)/2+ox, y-float64(p.h)/2+oy)
				}
			}
		},
		walker(r, 142, someone(r), false, 520, 520, 4, false), walker(r, 235, officer(), true, 250, 560, 25, false))
}

func earth(c *canvas, w, y0 float64, col rgb) {
	c.rect(rough(rough(down(y0, height, col.mul(0.86), col), 1.1, 0.2), 5, 0.12), 0, y0, w, height-y0)
}

func building(c *canvas, r *rand.Rand, m *layer, w float64) {
	earth(c, w, 398, hex(0xa3906f))
	c.house(70, 420, 220, 112)
	c.tree(330, 424, 190, hex(0x628c46))
	c.unfinished(520, 452, 330)
	c.house(1010, 424, 240, 118)
	c.tree(980, 428, 150, hex(0x587f42))
	c.tree(1290, 430, 180, hex(0x66904a))
	c.heap(440, 494, 130, 240, 6, 0xa4593f, 0x8f4a34, 0xb5684a)
	c.heap(930, 500, 160, 380, 4, 0xc9b48a, 0xbfa878, 0xd6c49c)
	for i := range 5 { // bags of cement
		x := 610 + float64(i%3)*34
		y := 500 - float64(i/3)*13
		c.poly(down(y-14, y, hex(0xd9d6cc), hex(0xa9a598)), 1, pt{x, y}, pt{x + 3, y - 12}, pt{x + 30, y - 12}, pt{x + 33, y})
	}
	c.grass(w, 430, height, 500, hex(0x6d8a48))
	m.actors = append(m.actors,
		walker(r, 146, look{hex(0xd8b02a), hex(0xc99a70), hex(0x5a6a4a), hex(0x3f4046)}, false, 560, 510, 6, false),
		walker(r, 150, look{hex(0xc8452a), hex(0xd0a070), hex(0x4a5a7a), hex(0x3a3a3a)}, false, 900, 514, -5, false),
		walker(r, 235, officer(), true, 260, 560, 28, false))
}

func forest(c *canvas, r *rand.Rand, m *layer, w float64) {
	for row := range 4 {
		t := float64(row) / 3
		haze := mix(hex(0xb9c7c4), hex(0x2f4d35), 0.35+0.65*t)
		for x := -30.0; x < w; x += c.around(52+22*t, 16) {
			c.conifer(x, 372+50*t+c.around(0, 8), c.around(170+110*t, 34), mix(haze, hex(0x3f6a42), 0.25+0.3*t))
		}
	}
	earth(c, w, 432, hex(0x7d7355))
	c.grass(w, 430, 478, 1500, hex(0x5d7d44))
	c.poly(rough(flat(hex(0xa08d69)), 1, 0.25), 1, pt{-10, 520}, pt{500, 466}, pt{w, 452}, pt{w, 486}, pt{640, 520}, pt{200, height}, pt{-10, height})
	for row := range 4 { // timber, cut
		for i := range 8 - row {
			x, y := 640+float64(i)*30+float64(row)*15, 474-float64(row)*24
			c.rect(down(y-14, y+14, hex(0x7a5c3e), hex(0x4e3a27)), x-60, y-12, 62, 24)
			c.ellipse(flat(hex(0x5d452e)), 1, x, y, 13, 14)
			c.ellipse(rough(flat(hex(0xd3b07a)), 0.6, 0.2), 1, x, y, 11, 12)
			c.ellipse(flat(hex(0xb08d5a)), 0.8, x, y, 5, 5.5)
			c.ellipse(flat(hex(0xd3b07a)), 0.9, x, y, 3.6, 4)
		}
	}
	for _, x := range []float64{90, 420, 1190, 1340} { // stumps
		c.rect(down(470, 496, hex(0x6f5438), hex(0x47351f)), x-15, 476, 30, 22)
		c.ellipse(flat(hex(0xcfae7c)), 1, x, 476, 15, 6)
		c.ellipse(flat(hex(0xa8895a)), 1, x, 476, 7, 2.6)
	}
	for x := 0.0; x < w; x += 140 {
		c.bush(c.around(x, 40), 548, c.around(90, 26), c.pick(0x55793f, 0x63884a, 0x4a6a38))
	}
	mist := smoky(420, hex(0xdfe6e3), 0.3)
	m.actors = append(m.actors,
		func(f *picture, t, ox, oy float64) {
			for i := range 5 {
				f.put(mist, math.Mod(float64(i)*330+t*9, w+400)-400+ox, 190+float64(i%2)*50+oy)
			}
		},
		walker(r, 148, someone(r), false, 860, 510, -4, false), walker(r, 235, officer(), true, 220, 560, 26, false))
}

func rubbish(c *canvas, r *rand.Rand, m *layer, w float64) {
	earth(c, w, 390, hex(0x8f8a66))
	for _, x := range []float64{30, 720, 1260} {
		c.house(x, 412, c.around(170, 20), 88)
	}
	for _, x := range []float64{250, 300, 660, 960, 1010, 1220} {
		c.tree(x, 420, c.around(130, 30), c.pick(0x5f8644, 0x6f934c, 0x547a40))
	}
	c.grass(w, 400, 452, 1500, hex(0x6f8c4a))
	c.rect(rough(down(452, 520, hex(0xb5b2a8), hex(0xa5a298)), 0.9, 0.14), 0, 452, w, 70)
	c.shade(0, 520, w, 3, 0.3)
	c.grass(w, 524, height, 600, hex(0x6f8c4a))
	cols := []uint32{0xe6e4de, 0x2a2c30, 0x3a6aa0, 0xb8433a, 0xd6c34a, 0x7d6a52, 0xc9c4b8, 0x4a7a58}
	c.heap(470, 468, 210, 260, 9, cols...)
	c.heap(600, 476, 150, 160, 8, cols...)
	c.heap(1080, 466, 110, 110, 8, cols...)
	for range 26 { // bags and bottles around
		x, y := c.around(540, 220), c.around(476, 14)
		col := c.pick(cols...)
		c.ellipse(down(y-7, y+6, col.mul(1.1), col.mul(0.7)), 1, x, y, c.around(8, 4), c.around(5, 2))
	}
	m.actors = append(m.actors, passing([]*picture{van(0x9fb0b8)}, 1800, 420, -70, 6),
		walker(r, 148, someone(r), false, 820, 516, -5, false), walker(r, 235, officer(), true, 240, 560, 27, false))
}

// walker walks to and fro, and stands at times.
func walker(r *rand.Rand, h float64, l look, band bool, x, feet, speed float64, night bool) actor {
	right := person(h, l, band, 8)
	var left []*picture
	for _, p := range right {
		if night {
			darken(p, 0.55)
		}
		left = append(left, flip(p))
	}
	offset := r.Float64() * 10
	return func(f *picture, t, ox, oy float64) {
		pics, cycle := right, math.Mod(t+offset, 16)
		away := speed * min(cycle, 8)
		if cycle > 8 {
			away = speed * (16 - cycle)
		}
		if (speed < 0) != (cycle > 8) {
			pics = left
		}
		step := 0
		if math.Abs(speed) > 1 {
			step = int(t*math.Max(5, math.Abs(speed)*0.36)) % len(pics)
		}
		f.put(pics[step], x+away+ox, feet-h*0.99+oy)
	}
}

// passing crosses the layer once, starting after some seconds.
func passing(pics []*picture, from, y, speed, after float64) actor {
	return func(f *picture, t, ox, oy float64) {
		if t >= after {
			f.put(pics[int(t*8)%len(pics)], from+speed*(t-after)+ox, y+oy+math.Sin(t*11)*0.8)
		}
	}
}
