package main

import (
	"cmp"
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

// planned is an activity that the township entered.
type planned struct {
	ID       string    `json:"id"`
	Kind     string    `json:"kind"` // a word's id
	Title    string    `json:"title"`
	Place    string    `json:"place"`
	Day      string    `json:"day"` // 2006-01-02, at +08:00
	Starts   time.Time `json:"starts"`
	Ends     time.Time `json:"ends"`
	AllDay   bool      `json:"all_day"`
	Officers []string  `json:"officers"`
}

// covers says whether it was going on, or was to be on that day.
func (p planned) covers(at time.Time) bool {
	return p.Day == at.In(county).Format(time.DateOnly) || !at.Before(p.Starts) && at.Before(p.Ends)
}

// off is how far a time lies outside its hours: 0 within them, and for one that has none.
func (p planned) off(at time.Time) time.Duration {
	switch {
	case at.IsZero() || p.AllDay:
		return 0
	case at.Before(p.Starts):
		return p.Starts.Sub(at)
	case at.After(p.Ends):
		return at.Sub(p.Ends)
	}
	return 0
}

// preset puts into order what an officer may label a clip with: the activities of a day, the officer's own first, then by how near their
// hours are to when it was recorded (zero: to none); the words; activities of other days. It gives places in choices.
func (s self) preset(officer string, day, at time.Time) []int {
	var near, far []int
	for i, p := range s.Planned {
		if p.covers(day) {
			near = append(near, i)
		} else {
			far = append(far, i)
		}
	}
	others := func(p planned) int {
		if slices.Contains(p.Officers, officer) {
			return 0
		}
		return 1
	}
	for _, places := range [][]int{near, far} {
		slices.SortStableFunc(places, func(i, j int) int {
			a, b := s.Planned[i], s.Planned[j]
			return cmp.Or(cmp.Compare(others(a), others(b)), cmp.Compare(a.off(at), b.off(at)), a.Starts.Compare(b.Starts), cmp.Compare(a.ID, b.ID))
		})
	}
	var out []int
	for _, i := range near {
		out = append(out, len(s.Activities)+i)
	}
	for i := range s.Activities {
		out = append(out, i)
	}
	for _, i := range far {
		out = append(out, len(s.Activities)+i)
	}
	return out
}

// label is what a choice says of a clip: a word's id and, if it is a planned activity, that one's.
type label struct {
	kind, activity string
}

// id is what was chosen.
func (l label) id() string {
	if l.activity != "" {
		return l.activity
	}
	return l.kind
}

// label finds what an id of preset stands for.
func (s self) label(id string) (label, bool) {
	for _, p := range s.Planned {
		if p.ID == id {
			return label{p.Kind, p.ID}, true
		}
	}
	return label{kind: id}, slices.ContainsFunc(s.Activities, func(w labelView) bool { return w.ID == id })
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
