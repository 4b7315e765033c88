package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// event is something that happened at the station, as the platform takes it.
type event struct {
	ID       string    `json:"id"`
	Kind     string    `json:"kind"`
	At       time.Time `json:"at"`
	Officer  string    `json:"officer_id,omitempty"`
	Recorder string    `json:"recorder,omitempty"`
	Evidence string    `json:"evidence_id,omitempty"`
	Data     eventData `json:"data"`
}

type eventData struct {
	Slot       int    `json:"slot,omitempty"`
	Activity   string `json:"activity,omitempty"`
	ActivityID string `json:"activity_id,omitempty"`
	Reason     string `json:"reason,omitempty"`
	Series     string `json:"series,omitempty"`
	First      uint64 `json:"first,omitempty"`
	Last       uint64 `json:"last,omitempty"`
	Leaf       int64  `json:"leaf,omitempty"`
	Files      int    `json:"files,omitempty"`
	Volume     string `json:"volume,omitempty"`
	Digest     string `json:"digest,omitempty"`
	By         string `json:"by,omitempty"`
}

// diary keeps events until the platform has taken them: a file of lines, synced before anybody is told that something is done, and beside
// it how much of it was taken. Crash between the platform's answer and that note: they are sent again, and the platform knows them.
type diary struct {
	client *client
	path   string

	mu   sync.Mutex
	f    *os.File
	size int64
	sent int64
	more chan struct{} // holds a token while there is something to send
}

// keepSent is how much of the file may have been taken before it begins anew.
const keepSent = 4 << 20

func openDiary(c *client, dir string) (*diary, error) {
	d := &diary{client: c, path: filepath.Join(dir, "events"), more: make(chan struct{}, 1)}
	b, err := os.ReadFile(d.path + ".sent")
	if err == nil {
		d.sent, err = strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("事项簿：%w", err)
	}
	if d.f, err = os.OpenFile(d.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return nil, fmt.Errorf("事项簿：%w", err)
	}
	if err := d.cut(); err != nil {
		d.f.Close()
		return nil, fmt.Errorf("事项簿：%w", err)
	}
	d.wake()
	return d, nil
}

// cut removes a line that was torn by a crash: nobody was told that it was done.
func (d *diary) cut() error {
	info, err := d.f.Stat()
	if err != nil {
		return err
	}
	d.size = info.Size()
	if d.sent > d.size { // the file was begun anew, and the crash came before the note of that
		d.sent = 0
	}
	b := make([]byte, min(d.size, 64<<10))
	if _, err := d.f.ReadAt(b, d.size-int64(len(b))); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if end := bytes.LastIndexByte(b, '\n') + 1; end < len(b) {
		d.size -= int64(len(b) - end)
		return d.f.Truncate(d.size)
	}
	return nil
}

func (d *diary) close() { d.f.Close() }

func (d *diary) wake() {
	select {
	case d.more <- struct{}{}:
	default:
	}
}

// write makes events durable. From then on they will reach the platform.
func (d *diary) write(events ...event) error {
	var b bytes.Buffer
	for i := range events {
		e := &events[i]
		if e.ID == "" {
			e.ID = ulid.Make().String()
		}
		if e.At.IsZero() {
			e.At = time.Now()
		}
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		b.Write(append(line, '\n'))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.f.Write(b.Bytes()); err != nil {
		return fmt.Errorf("写入事项簿：%w", err)
	}
	if err := d.f.Sync(); err != nil {
		return fmt.Errorf("写入事项簿：%w", err)
	}
	d.size += int64(b.Len())
	d.wake()
	return nil
}

// run sends until ctx ends. refused is told what the platform wouldn't take: it has kept that among its dead letters.
func (d *diary) run(ctx context.Context, refused func(e event, why string)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.more:
		}
		for {
			n, err := d.sendSome(ctx, refused)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				refused(event{}, plain(err))
				t := time.NewTimer(10 * time.Second)
				select {
				case <-ctx.Done():
				case <-t.C:
				}
				t.Stop()
				continue
			}
			if n == 0 {
				break
			}
		}
	}
}

func (d *diary) sendSome(ctx context.Context, refused func(e event, why string)) (int, error) {
	d.mu.Lock()
	from, to := d.sent, d.size
	d.mu.Unlock()
	var events []event
	next := from
	lines := bufio.NewReader(io.NewSectionReader(d.f, from, to-from))
	for len(events) < 100 {
		b, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		next += int64(len(b))
		var e event
		if err := json.Unmarshal(b, &e); err != nil {
			refused(event{}, "事项簿中有一行损坏，已跳过："+err.Error())
			continue
		}
		events = append(events, e)
	}
	if len(events) > 0 {
		var out struct {
			Items []struct{ Status, Error string } `json:"items"`
		}
		if err := d.client.call(ctx, http.MethodPost, "/api/v1/station/events", map[string]any{"events": events}, &out); err != nil {
			return 0, err
		}
		if len(out.Items) != len(events) {
			return 0, fmt.Errorf("服务器回答了 %d 件事项，送出 %d 件", len(out.Items), len(events))
		}
		for i, r := range out.Items {
			if r.Status == rejected {
				refused(events[i], r.Error)
			}
		}
	}
	return len(events), d.took(next)
}

// took notes how far the platform has taken events, and begins the file anew once it is large and all of it was taken.
func (d *diary) took(to int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sent = to
	if d.sent == d.size && d.size > keepSent {
		if err := d.f.Truncate(0); err != nil {
			return err
		}
		d.size, d.sent = 0, 0
	}
	return writeWhole(d.path+".sent", []byte(strconv.FormatInt(d.sent, 10)))
}
