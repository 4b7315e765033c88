package sim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// shift is what the demo's recorder saw: days ago and time of day of each clip. All of it is invented.
var shift = []struct {
	daysAgo      int
	hour, minute int
	clip         Clip
}{
	{3, 9, 42, Clip{Scene: River, Lat: 32.2461, Lon: 106.3178, Say: []string{"我们是东河镇综合行政执法队的执法人员，现在向你出示执法证件。", "执法全过程录音录像，请你配合。", "你们在这里采挖砂石，有没有办理采砂许可？"}}},
	{3, 9, 51, Clip{Scene: River, Lat: 32.2463, Lon: 106.3181, Say: []string{"请你停止作业，把机械开到岸上。", "你有陈述和申辩的权利。"}}},
	{2, 10, 15, Clip{Scene: Building, Lat: 32.2318, Lon: 106.2957, Say: []string{"我们接到反映，这处房屋正在加建。", "请出示规划许可，我们现场测量并记录。"}}},
	{2, 15, 30, Clip{Scene: Rubbish, Lat: 32.2274, Lon: 106.2841, Say: []string{"这里堆放的垃圾，请在两天内清理干净。", "现在制作现场检查笔录。"}}},
	{1, 16, 8, Clip{Scene: Straw, Lat: 32.2532, Lon: 106.3049, Say: []string{"我们是东河镇执法人员，这是我们的执法证。", "现场正在露天焚烧秸秆，请立即把火扑灭。"}}},
	{1, 16, 14, Clip{Scene: Straw, Lat: 32.2534, Lon: 106.3052, Say: []string{"火已经扑灭，现在向你告知拟处罚的事实、理由和依据。", "你有权进行陈述和申辩。"}}},
	{1, 20, 5, Clip{Scene: Night, Lat: 32.2303, Lon: 106.2889, Say: []string{"夜间经营请不要占用人行道。", "请把摊位收到划定的区域内，谢谢配合。"}}},
	{0, -3, 12, Clip{Scene: Street, Lat: 32.2301, Lon: 106.2887, Say: []string{"您好，例行巡查。", "请保持店门前通道畅通。"}}},
	{0, -2, 36, Clip{Scene: Forest, Lat: 32.2875, Lon: 106.3391, Say: []string{"请出示木材的采伐许可。", "我们拍照并清点数量。"}}},
}

// DemoClips is how many recordings Card makes; the last is cut short, as by a battery that fell out.
var DemoClips = len(shift)

// The recorder had numbered its files up to FirstClip - 1 before. Between clip BeforeLost and the next it recorded what never arrived: the
// numbers 41 to 43.
const (
	FirstClip  = 36
	BeforeLost = 5
	Lost       = 3
)

// Number is what the recorder numbered the i-th clip of the card, from 0.
func Number(i int) int {
	if i >= BeforeLost {
		i += Lost
	}
	return FirstClip + i
}

var clipLength = 24 * time.Second

// Card fills a recorder's card: clips of the last days before now, the track of one of them beside it, and a last clip that lacks its
// index. What is there already stays. done is called after each clip; a file is on the card only once it is whole.
func Card(ctx context.Context, dir, unit, serial, officer string, now time.Time, done func(n int) error) error {
	now = now.In(shanghai)
	making := filepath.Join(filepath.Dir(dir), ".making")
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.MkdirAll(making, 0o700)); err != nil {
		return err
	}
	for i, s := range shift {
		c := s.clip
		c.Unit, c.Officer, c.Length, c.Seed = unit, officer, clipLength, uint64(i+1)
		if s.hour < 0 {
			c.Start = now.Add(time.Duration(s.hour)*time.Hour + time.Duration(s.minute)*time.Minute).Truncate(time.Second)
		} else {
			c.Start = time.Date(now.Year(), now.Month(), now.Day()-s.daysAgo, s.hour, s.minute, 7+i*5, 0, shanghai)
		}
		there, err := fs.Glob(os.DirFS(dir), fmt.Sprintf("*_%04d.mp4", Number(i))) // the folder's own name is no pattern
		if err != nil {
			return err
		}
		if len(there) == 0 {
			name := fmt.Sprintf("%s_%s_%s_%04d", serial, officer, c.Start.Format("20060102150405"), Number(i))
			if err := record(ctx, making, dir, name, c, i == len(shift)-1); err != nil {
				return err
			}
		}
		if err := done(i + 1); err != nil {
			return err
		}
	}
	return os.RemoveAll(making)
}

// record makes a clip aside and puts it on the card whole, as a recorder that was switched off in order; a cut one loses its end.
func record(ctx context.Context, making, dir, name string, c Clip, cut bool) error {
	clip := filepath.Join(making, name+".mp4")
	if err := Render(ctx, clip, c); err != nil {
		return err
	}
	if cut {
		if err := cutShort(clip); err != nil {
			return err
		}
	}
	if c.Scene == Straw {
		gpx := filepath.Join(making, name+".gpx")
		if err := errors.Join(track(gpx, c), os.Rename(gpx, filepath.Join(dir, name+".gpx"))); err != nil {
			return err
		}
	}
	return os.Rename(clip, filepath.Join(dir, name+".mp4"))
}

// cutShort keeps the first 60 % of a file.
func cutShort(path string) error {
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	return errors.Join(os.Truncate(path, fi.Size()*6/10), os.Chtimes(path, fi.ModTime(), fi.ModTime()))
}

// track writes where the wearer went, a point every two seconds, as GPX 1.1.
func track(path string, c Clip) error {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<gpx version="1.1" creator="示例" xmlns="http://www.topografix.com/GPX/1/1"><trk><trkseg>` + "\n")
	for t := time.Duration(0); t <= c.Length; t += 2 * time.Second {
		s := t.Seconds()
		fmt.Fprintf(&b, `<trkpt lat="%.6f" lon="%.6f"><time>%s</time></trkpt>`+"\n", c.Lat+s*0.000006, c.Lon+s*0.000009, c.Start.Add(t).UTC().Format(time.RFC3339))
	}
	b.WriteString("</trkseg></trk></gpx>\n")
	end := c.Start.Add(c.Length)
	return errors.Join(os.WriteFile(path, []byte(b.String()), 0o600), os.Chtimes(path, end, end))
}
