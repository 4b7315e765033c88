package evidence_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"zhizheng/evidence"
	"zhizheng/evidence/chain"
	"zhizheng/internal/blob"
	"zhizheng/internal/testcounty"
)

const mib = 1 << 20

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func content(id evidence.ID) string { return "/api/v1/evidence/" + string(id) + "/content" }

// kinds counts the leaves of an item's chain.
func kinds(t *testing.T, c *testcounty.County, id evidence.ID) map[chain.Kind]int {
	t.Helper()
	leaves, err := c.Log.SubjectLeaves(t.Context(), evidence.Subject(id))
	must(t, err)
	out := map[chain.Kind]int{}
	for _, l := range leaves {
		d, err := l.Decode()
		must(t, err)
		out[d.Kind]++
	}
	return out
}

func TestRangesOfSealedBytes(t *testing.T) {
	c := testcounty.New(t)
	body := testcounty.Bytes(1, 12*mib+5) // three parts at the store
	n := len(body)
	id := c.Seals("DCIM/示例.mp4", body)
	empty := c.Seals("DCIM/empty.mp4", nil)
	c.User("li", "officer", testcounty.Donghe)
	b := c.SignedIn("li")
	for _, x := range []struct {
		header   string
		off, len int // of what is answered; len < 0: not satisfiable
		status   int
	}{
		{"", 0, n, 200},
		{"bytes=0-0", 0, 1, 206},
		{"bytes=5-9", 5, 5, 206},
		{"bytes=0-" + fmt.Sprint(n-1), 0, n, 206},
		{"bytes=0-" + fmt.Sprint(n+9), 0, n, 206},
		{fmt.Sprintf("bytes=%d-%d", 5*mib-2, 5*mib+2), 5*mib - 2, 5, 206}, // over the edge of two parts
		{"bytes=-5", n - 5, 5, 206},
		{fmt.Sprintf("bytes=-%d", n+1), 0, n, 206},
		{"bytes=0-", 0, 8 * mib, 206}, // an open end is capped: a seeking player else pulls the rest each time
		{fmt.Sprintf("bytes=%d-", 5*mib), 5 * mib, n - 5*mib, 206},
		{fmt.Sprintf("bytes=%d-", n-1), n - 1, 1, 206},
		{fmt.Sprintf("bytes=%d-", n), 0, -1, 416},
		{"bytes=9223372036854775807-", 0, -1, 416},
		{"bytes=-0", 0, -1, 416},
		{"bytes=9-5", 0, n, 200}, // no range at all, by RFC 9110: the whole file
		{"bytes=a-b", 0, n, 200},
		{"bytes=0-1,5-6", 0, n, 200},
		{"items=0-1", 0, n, 200},
		{"bytes=99999999999999999999-", 0, n, 200},
	} {
		var head []string
		if x.header != "" {
			head = []string{"Range", x.header}
		}
		a := b.Get(content(id), head...)
		if a.Status != x.status {
			t.Errorf("%q: %d, want %d", x.header, a.Status, x.status)
			continue
		}
		if x.len < 0 {
			if a.Header.Get("Content-Range") != fmt.Sprintf("bytes */%d", n) || len(a.Body) != 0 {
				t.Errorf("%q: %v", x.header, a.Header)
			}
			continue
		}
		if !bytes.Equal(a.Body, body[x.off:x.off+x.len]) || a.Header.Get("Content-Length") != fmt.Sprint(x.len) || a.Header.Get("Accept-Ranges") != "bytes" {
			t.Errorf("%q: %d bytes, %v", x.header, len(a.Body), a.Header)
		}
		if want := fmt.Sprintf("bytes %d-%d/%d", x.off, x.off+x.len-1, n); x.status == 206 && a.Header.Get("Content-Range") != want {
			t.Errorf("%q: Content-Range %q, want %q", x.header, a.Header.Get("Content-Range"), want)
		}
	}
	rec, err := c.Keeper.Get(t.Context(), evidence.Scope{}, id)
	must(t, err)
	etag := `"` + rec.SHA256Hex() + `"`
	for _, x := range []struct {
		head   []string
		status int
	}{
		{[]string{"Range", "bytes=0-4", "If-Range", etag}, 206},
		{[]string{"Range", "bytes=0-4", "If-Range", `"of-another-file"`}, 200},
		{[]string{"Range", "bytes=0-4", "If-Range", "Wed, 21 Oct 2026 07:28:00 GMT"}, 200},
		{[]string{"If-None-Match", etag}, 304},
		{[]string{"If-None-Match", `"of-another-file"`}, 200},
	} {
		if a := b.Get(content(id), x.head...); a.Status != x.status || a.Header.Get("ETag") != etag {
			t.Errorf("%v: %d, ETag %q", x.head, a.Status, a.Header.Get("ETag"))
		}
	}
	h := b.Do("HEAD", content(id), nil)
	if h.Status != 200 || h.Header.Get("Content-Length") != fmt.Sprint(n) || len(h.Body) != 0 {
		t.Errorf("HEAD: %d %v", h.Status, h.Header)
	}
	if a := b.Get(content(empty)); a.Status != 200 || len(a.Body) != 0 || a.Header.Get("Content-Length") != "0" {
		t.Errorf("empty file: %d %v", a.Status, a.Header)
	}
	if a := b.Get(content(empty), "Range", "bytes=0-"); a.Status != 416 {
		t.Errorf("range of an empty file: %d", a.Status)
	}
	for k, want := range map[string]string{"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"} {
		if got := h.Header.Get(k); got != want {
			t.Errorf("%s: %q", k, got)
		}
	}
}

// A page that somebody put on a card is never run in the console's origin.
func TestContentThatIsNoFootageIsInert(t *testing.T) {
	c := testcounty.New(t)
	c.User("li", "officer", testcounty.Donghe)
	b := c.SignedIn("li")
	for _, name := range []string{"a.html", "a.svg", "a.js", "a.mp4", "a.xhtml", `a";x=.html`, "a\r\nSet-Cookie: x=1.mp4"} {
		id := c.Seals("DCIM/"+name, []byte("<script>alert(1)</script>"+name))
		for _, q := range []string{"", "?download=true"} {
			a := b.Get(content(id) + q)
			if a.Status != 200 || a.Header.Get("Content-Type") != "application/octet-stream" || !strings.Contains(a.Header.Get("Content-Security-Policy"), "sandbox") {
				t.Errorf("%q: %d %v", name, a.Status, a.Header)
			}
			if d := a.Header.Get("Content-Disposition"); strings.HasPrefix(d, "attachment") != (q != "") || strings.ContainsAny(d, "\r\n\"<") {
				t.Errorf("%q: Content-Disposition %q", name, d)
			}
			if strings.Contains(a.Header.Get("Set-Cookie"), "x=1") {
				t.Errorf("%q sets a cookie", name)
			}
		}
	}
}

// Who is given bytes is in the log first: once a session for views, each time for downloads.
func TestViewsAndDownloadsAreLeaves(t *testing.T) {
	c := testcounty.New(t)
	id := c.Seals("a.mp4", testcounty.Bytes(2, 100_000))
	c.User("li", "officer", testcounty.Donghe)
	first := c.SignedIn("li")
	var wg sync.WaitGroup
	for i := range 8 { // a player opens with several ranges at once, then seeks
		wg.Go(func() { first.Get(content(id), "Range", fmt.Sprintf("bytes=%d-", i*1000)) })
	}
	wg.Wait()
	for i := range 20 {
		if a := first.Get(content(id), "Range", fmt.Sprintf("bytes=%d-", i*10)); a.Status != http.StatusPartialContent {
			t.Fatalf("seek: %d", a.Status)
		}
	}
	if got := kinds(t, c, id); got[chain.KindViewed] != 1 {
		t.Fatalf("28 ranges of one session: %d leaves", got[chain.KindViewed])
	}
	c.SignedIn("li").Get(content(id))
	for range 3 {
		first.Get(content(id) + "?download=true")
	}
	first.Do("HEAD", content(id), nil)
	got := kinds(t, c, id)
	if got[chain.KindViewed] != 2 || got[chain.KindDownloaded] != 3 {
		t.Fatalf("leaves %v", got)
	}
	// The chain of custody tells the same, with the person and the leaf.
	var page struct {
		Items []struct {
			KindName  string `json:"kind_name"`
			ActorName string `json:"actor_name"`
			LeafIndex *int64 `json:"leaf_index"`
		}
	}
	must(t, json.Unmarshal(first.Get("/api/v1/evidence/"+string(id)+"/custody").Body, &page))
	var told []string
	for _, e := range page.Items {
		if e.LeafIndex == nil || e.ActorName == "" {
			t.Errorf("event %+v", e)
		}
		told = append(told, e.KindName)
	}
	if s := strings.Join(told, " "); s != "manifest sealed viewed viewed downloaded downloaded downloaded" {
		t.Errorf("custody: %s", s)
	}
}

// One view stands for half an hour, and for one person, one session, one item.
func TestHowLongAViewStands(t *testing.T) {
	c := testcounty.New(t)
	clock := time.Now()
	k := evidence.NewKeeper(c.Pool, c.Log, c.Store, func() time.Time { return clock })
	a, b := c.Seals("a.mp4", []byte("a")), c.Seals("b.mp4", []byte("b"))
	for _, x := range []struct {
		after          time.Duration
		item           evidence.ID
		actor, session string
		leaves         int // of the item, so far
	}{
		{0, a, "li", "1", 1},
		{29 * time.Minute, a, "li", "1", 1},
		{0, a, "li", "2", 2},
		{0, a, "wu", "1", 3},
		{0, b, "li", "1", 1},
		{2 * time.Minute, a, "li", "1", 4}, // 31 minutes after the first
		{0, a, "li", "2", 4},
	} {
		clock = clock.Add(x.after)
		must(t, k.Viewed(t.Context(), x.item, false, evidence.Act{Actor: x.actor, Session: x.session}))
		if got := kinds(t, c, x.item)[chain.KindViewed]; got != x.leaves {
			t.Errorf("%+v: %d leaves", x, got)
		}
	}
	// Another process doesn't know what this one saw: it logs once more rather than once too few.
	must(t, evidence.NewKeeper(c.Pool, c.Log, c.Store, nil).Viewed(t.Context(), a, false, evidence.Act{Actor: "li", Session: "2"}))
	if got := kinds(t, c, a)[chain.KindViewed]; got != 5 {
		t.Errorf("after a restart: %d leaves", got)
	}
}

// pictured seals an item and gives it a poster.
func pictured(t *testing.T, c *testcounty.County, name string) evidence.ID {
	t.Helper()
	id := c.Seals(name, []byte(name))
	key := "posters/" + string(id) + ".jpg"
	_, err := c.Store.Put(t.Context(), key, []byte("a frame of "+name), blob.CreateOptions{ContentType: "image/jpeg"})
	must(t, err)
	must(t, c.Keeper.SetPoster(t.Context(), id, key))
	return id
}

// A poster shows a scene: a person's first look at it in a day is in the log, whoever the person is. A list of many asks at once.
func TestPostersAreViews(t *testing.T) {
	c := testcounty.New(t)
	var ids []evidence.ID
	for i := range 50 {
		ids = append(ids, pictured(t, c, fmt.Sprint(i, ".mp4")))
	}
	c.User("li", "officer", testcounty.Donghe)
	c.User("qian", "leader")
	list := func(b *testcounty.Browser) time.Duration {
		t.Helper()
		began := time.Now()
		var wg sync.WaitGroup
		for _, id := range ids {
			wg.Go(func() {
				a := b.Get("/api/v1/evidence/" + string(id) + "/poster")
				if a.Status != 200 || !bytes.HasPrefix(a.Body, []byte("a frame of ")) || !slices.Contains(a.Header.Values("Vary"), "Cookie") {
					t.Errorf("%d %v", a.Status, a.Header)
				}
			})
		}
		wg.Wait()
		return time.Since(began)
	}
	views := func(want int) {
		t.Helper()
		for _, id := range ids {
			if got := kinds(t, c, id)[chain.KindGlimpsed]; got != want {
				t.Fatalf("%d views, want %d", got, want)
			}
		}
	}
	li, qian := c.SignedIn("li"), c.SignedIn("qian")
	t.Logf("50 posters: %s", list(li))
	views(1)
	t.Logf("again: %s", list(li))
	list(c.SignedIn("li")) // another session of the day
	views(1)
	list(qian)
	views(2)
	a := li.Get("/api/v1/evidence/" + string(ids[0]) + "/custody")
	if !bytes.Contains(a.Body, []byte(`"kind_name":"glimpsed"`)) {
		t.Errorf("custody: %s", a.Body)
	}
}

// A look stands for the county's day, for whichever server is asked, and is part of a view of that day.
func TestHowLongALookAtAPosterStands(t *testing.T) {
	c := testcounty.New(t)
	clock := time.Date(2026, 3, 1, 15, 59, 0, 0, time.UTC) // 23:59 in the county
	now := func() time.Time { return clock }
	k, other := evidence.NewKeeper(c.Pool, c.Log, c.Store, now), evidence.NewKeeper(c.Pool, c.Log, c.Store, now)
	id, seen := c.Seals("a.mp4", []byte("a")), c.Seals("b.mp4", []byte("b"))
	li := evidence.Act{Actor: "li", Session: "1"}
	look := func(k *evidence.Keeper, id evidence.ID, leaves int) {
		t.Helper()
		must(t, k.Glimpsed(t.Context(), id, li))
		if got := kinds(t, c, id)[chain.KindGlimpsed]; got != leaves {
			t.Errorf("%d leaves, want %d", got, leaves)
		}
	}
	look(k, id, 1)
	look(k, id, 1)
	look(other, id, 1)
	clock = clock.Add(time.Minute)
	look(other, id, 2)
	look(k, id, 2)
	clock = clock.Add(23*time.Hour + 59*time.Minute)
	look(k, id, 2)
	must(t, k.Viewed(t.Context(), seen, false, li))
	look(k, seen, 0)
	must(t, k.Viewed(t.Context(), id, false, li)) // a look is no view of the footage
	if got := kinds(t, c, id)[chain.KindViewed]; got != 1 {
		t.Errorf("%d leaves", got)
	}
}

// Nobody is given bytes whose view couldn't be logged.
func TestNoBytesWithoutALeaf(t *testing.T) {
	c := testcounty.New(t)
	body := testcounty.Bytes(3, 50_000)
	id := c.Seals("a.mp4", body)
	c.User("li", "officer", testcounty.Donghe)
	b := c.SignedIn("li")
	owner := c.Owner()
	if _, err := owner.Exec(t.Context(), `alter table custody add constraint nothing_more check (kind not in (13, 14, 27)) not valid`); err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"", "?download=true"} {
		if a := b.Get(content(id) + q); a.Status < 500 || bytes.Contains(a.Body, body[:100]) {
			t.Errorf("%q: %d, %d bytes", q, a.Status, len(a.Body))
		}
	}
	if a := b.Get("/api/v1/evidence/" + string(pictured(t, c, "b.mp4")) + "/poster"); a.Status < 500 || bytes.Contains(a.Body, []byte("a frame")) {
		t.Errorf("poster: %d", a.Status)
	}
	if _, err := owner.Exec(t.Context(), `alter table custody drop constraint nothing_more`); err != nil {
		t.Fatal(err)
	}
	if a := b.Get(content(id)); a.Status != 200 || !bytes.Equal(a.Body, body) {
		t.Errorf("afterwards: %d", a.Status)
	}
	if got := kinds(t, c, id)[chain.KindViewed]; got != 1 {
		t.Errorf("%d views logged", got)
	}
}

// The fingerprint is there, the bytes are not: said so, and no view is logged.
func TestContentThatHasNotArrived(t *testing.T) {
	c := testcounty.New(t)
	body := []byte("late")
	id, m, parts := c.Registers("a.mp4", body)
	c.User("li", "officer", testcounty.Donghe)
	b := c.SignedIn("li")
	a := b.Get(content(id))
	var p struct{ Detail, Next string }
	must(t, json.Unmarshal(a.Body, &p))
	if a.Status != 404 || a.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(p.Detail, "影像待传") || p.Next == "" {
		t.Errorf("%d %v %s", a.Status, a.Header, a.Body)
	}
	if r := b.Get("/api/v1/evidence/" + string(id) + "/receipt"); r.Status != 202 || r.Header.Get("Retry-After") == "" {
		t.Errorf("receipt: %d %v", r.Status, r.Header)
	}
	if got := kinds(t, c, id); len(got) != 0 {
		t.Errorf("leaves %v", got)
	}
	c.Carries(id, m, parts, body)
	if a := b.Get(content(id)); a.Status != 200 || !bytes.Equal(a.Body, body) {
		t.Errorf("sealed: %d", a.Status)
	}
}

// What lies in another township isn't there, whichever way one asks.
func TestAnotherTownshipsEvidenceIsNotThere(t *testing.T) {
	c := testcounty.New(t)
	id := c.Seals("DCIM/a.mp4", []byte("of 东河镇"))
	c.User("li", "officer", testcounty.Donghe)
	c.User("wu", "head", testcounty.Jiachuan)
	c.User("shen", "reviewer")
	c.User("fin", "finance", testcounty.Donghe)
	reason := map[string]any{"reason": "核查需要"}
	at := "/api/v1/evidence/" + string(id)
	wu := c.SignedIn("wu")
	for _, path := range []string{at, content(id), content(id) + "?download=true", at + "/poster", at + "/receipt", at + "/custody"} {
		if a := wu.Get(path); a.Status != 404 {
			t.Errorf("%s: %d %s", path, a.Status, a.Body)
		}
	}
	for _, a := range []testcounty.Answer{wu.JSON("POST", at+"/hold", reason), wu.JSON("POST", at+"/hold/lift", reason),
		wu.JSON("PUT", at+"/restriction", map[string]any{"restricted": true, "reason": "试试"})} {
		if a.Status != 404 {
			t.Errorf("%d %s", a.Status, a.Body)
		}
	}
	for _, q := range []string{"", "?q=a.mp4", "?sha256=" + strings.Repeat("0", 64)} {
		if a := wu.Get("/api/v1/evidence" + q); a.Status != 200 || bytes.Contains(a.Body, []byte(id)) {
			t.Errorf("list%s: %d %s", q, a.Status, a.Body)
		}
	}
	if a := wu.Get("/api/v1/evidence?township=" + testcounty.Donghe); a.Status != 403 && a.Status != 404 {
		t.Errorf("list of the other: %d", a.Status)
	}
	if got := kinds(t, c, id); len(got) != 1 || got[chain.KindSealed] != 1 {
		t.Errorf("leaves %v", got)
	}
	for _, who := range []string{"li", "shen"} {
		if a := c.SignedIn(who).Get(content(id)); a.Status != 200 || string(a.Body) != "of 东河镇" {
			t.Errorf("%s: %d", who, a.Status)
		}
	}
	if a := c.SignedIn("fin").Get(content(id)); a.Status != 403 {
		t.Errorf("finance: %d", a.Status)
	}
}

// A restricted item (误录) stays, and only those who may restrict see its bytes.
func TestRestrictedItem(t *testing.T) {
	c := testcounty.New(t)
	id := c.Seals("a.mp4", []byte("private"))
	c.User("li", "officer", testcounty.Donghe)
	c.User("ma", "manager", testcounty.Donghe)
	li, ma := c.SignedIn("li"), c.SignedIn("ma")
	at := "/api/v1/evidence/" + string(id)
	if a := ma.Get(content(id)); a.Status != 200 {
		t.Fatalf("before: %d", a.Status)
	}
	if a := ma.JSON("PUT", at+"/restriction", map[string]any{"restricted": true, "reason": "误录"}); a.Status != 403 {
		t.Errorf("manager restricts: %d", a.Status)
	}
	if a := li.JSON("PUT", at+"/restriction", map[string]any{"restricted": true, "reason": "误录"}); a.Status != 200 || !bytes.Contains(a.Body, []byte(`"restricted":true`)) {
		t.Fatalf("officer restricts: %d %s", a.Status, a.Body)
	}
	for _, path := range []string{content(id), at + "/poster"} {
		if a := ma.Get(path); a.Status != 403 {
			t.Errorf("%s: %d", path, a.Status)
		}
	}
	if a := li.Get(content(id)); a.Status != 200 {
		t.Errorf("officer: %d", a.Status)
	}
	li.JSON("PUT", at+"/restriction", map[string]any{"restricted": false, "reason": "查明无误"})
	if a := ma.Get(content(id)); a.Status != 200 {
		t.Errorf("opened again: %d", a.Status)
	}
	if got := kinds(t, c, id); got[chain.KindRestricted] != 2 {
		t.Errorf("leaves %v", got)
	}
}
