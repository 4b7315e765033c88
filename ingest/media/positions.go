package media

import (
	"bytes"
	"context"
	"errors"
	"io"
)

// What of a stream is read for its times: its beginning, its end, and all of a bounded length if it holds positions.
const streamPart = 1 << 20

// boxedPositions are top-level boxes with positions, spread over the recording as far as they don't say their time.
func boxedPositions(l Layout, durationMs int64) (out []gpsRange) {
	n := int64(len(l.GPS))
	for k := range min(n, maxGPSReads) {
		i := k * n / min(n, maxGPSReads)
		b := l.GPS[i]
		r := gpsRange{Kind: kindFreeGPS, Off: b.Off + b.Header, Size: min(b.Size-b.Header, 512), AtMs: durationMs * i / n}
		if b.Type == "GPS " {
			r.Kind, r.Size = kindBox, min(b.Size-b.Header, maxGPSBlock)
		}
		out = append(out, r)
	}
	return out
}

// positions tells whether a text has some, so that a child is started only where there is something to read.
func positions(head []byte) bool {
	for _, s := range []string{"RMC,", "GGA,", "<gpx", "$V0"} {
		if bytes.Contains(head, []byte(s)) {
			return true
		}
	}
	return false
}

// track has a child read positions. Where there are none, or none that make sense, the facts stay as they are.
func (p Prober) track(ctx context.Context, f *Facts, r io.ReaderAt, size int64, ranges []gpsRange) error {
	if len(ranges) == 0 {
		return nil
	}
	d, err := p.decode(ctx, func(send func(gpsBlock, []byte) error) error {
		total := int64(0)
		for _, g := range ranges {
			n := min(g.Size, size-g.Off)
			if g.Off < 0 || n <= 0 || total+n > maxGPSBytes {
				continue
			}
			total += n
			data := make([]byte, n)
			if err := readFull(r, data, g.Off); err != nil {
				return err
			}
			if err := send(gpsBlock{Kind: g.Kind, AtMs: g.AtMs, Span: g.SpanN}, data); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	f.take(d.Track)
	return nil
}

func (f *Facts) take(t *Track) {
	if t == nil || len(t.Points) == 0 {
		return
	}
	f.Track, f.Fixes = t, t.Fixes
	if f.Position == nil {
		f.Position = &Position{Lat: t.Points[0].Lat, Lon: t.Points[0].Lon, Source: t.Source}
	}
	for _, p := range t.Points {
		if p.Time != nil {
			f.GPSTime = p.Time
			break
		}
	}
}

// decode runs the child with "track". A file that it gives up on has no positions: that takes nothing from its verdict.
func (p Prober) decode(ctx context.Context, feed func(send func(gpsBlock, []byte) error) error) (d decoded, err error) {
	self, err := p.self()
	if err != nil {
		return d, err
	}
	err = child(ctx, self, &d, func(w io.Writer) error {
		return feed(func(b gpsBlock, data []byte) error {
			b.Size = uint32(len(data))
			if _, err := w.Write(b.head()); err != nil {
				return err
			}
			_, err := w.Write(data)
			return err
		})
	}, "track")
	if errors.Is(err, errGaveUp) {
		return decoded{}, nil
	}
	return d, err
}

// streamParts is the beginning and the end of a stream, nil for a kind without times of its own.
func streamParts(k kind, head []byte, size int64) []gpsRange {
	switch k.container {
	case "mpeg-ts":
		first, packet := packets(head)
		n := int64(packet)
		whole := size / n * n
		part := streamPart / n * n
		parts := []gpsRange{{Kind: kindStream, Size: min(whole, part), AtMs: int64(first), SpanN: n}}
		if whole > part {
			parts = append(parts, gpsRange{Kind: kindStream, Off: max(whole-part, part), Size: min(part, whole-part), AtMs: int64(first), SpanN: n})
		}
		return parts
	case "mpeg-ps":
		parts := []gpsRange{{Kind: kindProgram, Size: min(size, streamPart)}}
		if size > streamPart {
			parts = append(parts, gpsRange{Kind: kindProgram, Off: max(size-streamPart, streamPart), Size: min(streamPart, size-streamPart)})
		}
		return parts
	}
	return nil
}

// stream reads codecs and times of a transport or program stream.
func (p Prober) stream(ctx context.Context, f *Facts, r io.ReaderAt, size int64, parts []gpsRange) error {
	partial := false
	d, err := p.decode(ctx, func(send func(gpsBlock, []byte) error) error {
		for i, g := range parts {
			data := make([]byte, g.Size)
			if err := readFull(r, data, g.Off); err != nil {
				return err
			}
			if err := send(gpsBlock{Kind: g.Kind, At: g.AtMs, Span: g.SpanN}, data); err != nil {
				return err
			}
			if i > 0 || len(parts) == 1 || g.Kind != kindStream || !bytes.Contains(data, []byte{0, 0, 1, 0xbf}) {
				continue
			}
			for off := g.Size; off < parts[1].Off; off += int64(len(data)) { // a private stream: perhaps positions
				if partial = off+g.Size > maxStream; partial {
					break
				}
				data = data[:min(g.Size, parts[1].Off-off)]
				if err := readFull(r, data, off); err != nil {
					return err
				}
				if err := send(gpsBlock{Kind: g.Kind, At: g.AtMs, Span: g.SpanN}, data); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil || d.Stream == nil {
		return err
	}
	if d.Track != nil {
		d.Track.Partial = partial
	}
	f.take(d.Track)
	s := d.Stream
	f.VideoCodec, f.AudioCodec, f.DurationMs = s.Video, s.Audio, s.milliseconds()
	if s.Videos > 1 {
		f.Videos = s.Videos
	}
	if s.InStep && f.DurationMs > 0 {
		f.Verdict = OK // as whole as a stream without an index can be told to be
	}
	return nil
}
