package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// self is what the platform tells a station: its name, who works here, which recorders there are, when to wipe. The last word is kept, so
// that the station works while the link is away.
type self struct {
	ID           string `json:"id"`
	Name         string `json:"name"`
	TownshipName string `json:"township_name"`
	Demo         bool   `json:"demo"`
	Wipe         struct {
		When string `json:"when"` // never, receipt, days
		Days int    `json:"days"`
	} `json:"wipe"`
	Officers []struct {
		ID    string   `json:"id"`
		Name  string   `json:"name"`
		Cards []string `json:"cards"`
		PIN   bool     `json:"pin"`
	} `json:"officers"`
	Recorders  []recorder  `json:"recorders"`
	Activities []labelView `json:"activities"` // words, in the order of the buttons
	Planned    []planned   `json:"planned"`    // the township's own, of some days
}

type recorder struct {
	Serial  string `json:"serial"`
	Name    string `json:"name"`
	Officer string `json:"officer_id"` // who has it, by the platform
}

// register is what the station knows of people and recorders.
type register struct {
	client *client
	path   string

	mu     sync.Mutex
	known  self
	asked  time.Time         // when the platform last answered
	wears  map[string]string // recorder → officer, by what happened here since
	claims map[string]string // volume → recorder, as officers said
}

func openRegister(c *client, dir string) (*register, error) {
	r := &register{client: c, path: filepath.Join(dir, "station"), wears: map[string]string{}, claims: map[string]string{}}
	for path, into := range map[string]any{r.path + ".json": &r.known, r.path + "-cards.json": &r.claims} {
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(b, into); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// refresh asks the platform once; what it said before stays if it doesn't answer.
func (r *register) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tellPatience)
	defer cancel()
	var fresh self
	if err := r.client.call(ctx, http.MethodGet, "/api/v1/station", nil, &fresh); err != nil {
		return err
	}
	b, err := json.Marshal(fresh)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known, r.asked = fresh, time.Now()
	return writeWhole(r.path+".json", b)
}

func (r *register) self() self {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known
}

// byCard finds who holds a card. What the reader types is the certificate's number.
func (r *register) byCard(number string) (id string, ok bool) {
	sum := sha256.Sum256([]byte("zhizheng officer card v1\n" + strings.ToUpper(strings.TrimSpace(number))))
	digest := hex.EncodeToString(sum[:])
	for _, o := range r.self().Officers {
		if slices.Contains(o.Cards, digest) {
			return o.ID, true
		}
	}
	return "", false
}

func (r *register) name(officer string) string {
	for _, o := range r.self().Officers {
		if o.ID == officer {
			return o.Name
		}
	}
	return ""
}

// wearer is who has a recorder: by what happened here, else by the platform.
func (r *register) wearer(serial string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w, ok := r.wears[serial]; ok {
		return w
	}
	for _, d := range r.known.Recorders {
		if d.Serial == serial {
			return d.Officer
		}
	}
	return ""
}

func (r *register) setWearer(serial, officer string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wears[serial] = officer
}

// recorder finds the registered recorder that one of these words names: what a card or its plug says of itself.
func (r *register) recorder(volume string, words ...string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.claims[volume]; s != "" {
		return s
	}
	for _, d := range r.known.Recorders {
		for _, w := range words {
			if w != "" && strings.EqualFold(w, d.Serial) {
				return d.Serial
			}
		}
	}
	return ""
}

// claim remembers whose card a volume is, for the next time.
func (r *register) claim(volume, serial string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.claims[volume] = serial
	b, err := json.Marshal(r.claims)
	if err != nil {
		return err
	}
	return writeWhole(r.path+"-cards.json", b)
}
