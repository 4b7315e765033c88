package sim

import "math"

// span is a run of a row's pixels that are all opaque, or need blending; empty ones have no span.
type span struct {
	from, to int
	opaque   bool
}

type spans []span

func spansOf(p *picture) []spans {
	rows := make([]spans, p.h)
	for y := range rows {
		for x := 0; x < p.w; {
			a := p.pix[(y*p.w+x)*4+3]
			end := x + 1
			for end < p.w {
				b := p.pix[(y*p.w+end)*4+3]
				if (a == 0) != (b == 0) || (a == 255) != (b == 255) {
					break
				}
				end++
			}
			if a > 0 {
				rows[y] = append(rows[y], span{x, end, a == 255})
			}
			x = end
		}
	}
	return rows
}

// blend lays n premultiplied pixels over others.
func blend(dst, src []uint8) {
	for i := 0; i+3 < len(src); i += 4 {
		switch a := uint32(src[i+3]); a {
		case 0:
		case 255:
			copy(dst[i:i+4], src[i:i+4])
		default:
			q := 255 - a
			dst[i] = uint8(min(255, uint32(src[i])+uint32(dst[i])*q/255))
			dst[i+1] = uint8(min(255, uint32(src[i+1])+uint32(dst[i+1])*q/255))
			dst[i+2] = uint8(min(255, uint32(src[i+2])+uint32(dst[i+2])*q/255))
		}
	}
}

// put lays a sprite on the frame.
func (f *picture) put(s *picture, fx, fy float64) {
	x, y := int(math.Round(fx)), int(math.Round(fy))
	from, to := max(0, -x), min(s.w, f.w-x)
	if from >= to {
		return
	}
	for sy := max(0, -y); sy < min(s.h, f.h-y); sy++ {
		blend(f.pix[((y+sy)*f.w+x+from)*4:], s.pix[(sy*s.w+from)*4:(sy*s.w+to)*4])
	}
}

// camera is where the wearer looks at a time: around slowly, in steps while walking.
type camera struct {
	period, phase float64
	walk          float64 // 0 stands, 1 walks
}

func (c camera) at(t float64) (x, y float64) {
	walking := c.walk * (0.5 + 0.5*math.Sin(2*math.Pi*t/13+c.phase*2))
	x = look0*(0.5+0.4*math.Sin(2*math.Pi*t/c.period+c.phase)) + 3.5*walking*math.Sin(2*math.Pi*0.95*t) + 1.2*math.Sin(t*1.3+c.phase)
	y = 6*walking*math.Abs(math.Sin(2*math.Pi*0.95*t)) + 1.5*math.Sin(t*0.9+c.phase)
	return x, y
}

// draw makes the frame at time t.
func (s scenery) draw(f *picture, c camera, t float64) {
	cx, cy := c.at(t)
	for _, l := range s.layers {
		ox := max(0, min(float64(l.pic.w-f.w), cx*l.speed))
		oy := max(0, min(float64(l.pic.h-f.h), margin+cy*(0.4+0.6*l.speed)))
		l.blit(f, int(ox), int(oy), t)
		for _, a := range l.actors {
			a(f, t, -math.Floor(ox), -math.Floor(oy))
		}
	}
}

func (l *layer) blit(f *picture, ox, oy int, t float64) {
	for y := range f.h {
		sy, shift := y+oy, 0
		if sy >= l.wave[0] && sy < l.wave[1] {
			depth := float64(sy-l.wave[0]) / float64(l.wave[1]-l.wave[0])
			shift = int(math.Round((1 + 3.5*depth) * math.Sin(float64(sy)*(1.1-0.7*depth)+t*2.6)))
		}
		x0 := max(0, min(l.pic.w-f.w, ox+shift))
		row := l.pic.pix[sy*l.pic.w*4:]
		for _, s := range l.rows[sy] {
			from, to := max(s.from, x0), min(s.to, x0+f.w)
			if from >= to {
				continue
			}
			dst := f.pix[(y*f.w+from-x0)*4 : (y*f.w+to-x0)*4]
			if s.opaque {
				copy(dst, row[from*4:to*4])
			} else {
				blend(dst, row[from*4:to*4])
			}
		}
	}
}
