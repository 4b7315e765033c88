package evlog

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/internal/db"
	"zhizheng/evidence/stamp"
	"zhizheng/evidence/stamp/tsa"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// Trusted time (RFC 3161): an authority signs the SHA-256 of the newest checkpoint's note body, and the token is a leaf. A tree holds all
// that came before, so one token for the newest checkpoint catches up after any time without one; what was logged in between is then
// known to be no later than that token, which is all that anyone can say of it.
//
// Crash windows of one round, in their order:
//   - after the claim: nobody else asks until the lease ends, then it is asked again;
//   - after the answer: the token is lost and nobody has relied on it; asked again, another one comes;
//   - after the leaf's commit: the state still says that a round is under way, so one token more is fetched at the end of the lease.

// Stamps says who is asked for trusted timestamps. The zero value asks nobody.
type Stamps struct {
	Authorities []string       // addresses
	Roots       *x509.CertPool // whom to trust for time; needed for authorities and for tokens that are carried in
	Every       time.Duration  // how often each is asked; 0 is an hour
	HTTP        *http.Client   // nil for one of its own
}

// Carried is the authority of a token that came by hand.
const Carried = "carried"

const (
	stampLease   = 2 * time.Minute  // a round takes no longer
	stampTimeout = 30 * time.Second // of an authority's answer
	firstRetry   = 15 * time.Second // doubled with each failure, up to Every
	maxRefused   = 200              // answers kept of one authority that don't hold: enough to see what it does
)

var stampSubject = chain.Subject{Type: chain.SubjectPlatform, ID: "timestamp"}

// stampAuthority is one who is asked.
type stampAuthority struct{ name, address string }

// stamper is what Stamps was made into.
type stamper struct {
	asked []stampAuthority
	roots *x509.CertPool
	every time.Duration
	tsa   tsa.Client
}

func newStamper(o Stamps) (stamper, error) {
	s := stamper{roots: o.Roots, every: o.Every, tsa: tsa.Client{HTTP: o.HTTP}}
	if s.every <= 0 {
		s.every = time.Hour
	}
	seen := map[string]bool{Carried: true}
	for _, address := range o.Authorities {
		name, err := tsa.Name(address)
		if err != nil {
			return s, err
		}
		if seen[name] {
			return s, fmt.Errorf("time-stamp authority %s is named twice", name)
		}
		seen[name] = true
		s.asked = append(s.asked, stampAuthority{name, address})
	}
	if len(s.asked) > 0 && s.roots == nil {
		return s, errors.New("time-stamp authorities without roots: nobody could judge their tokens")
	}
	return s, nil
}

// Stamp is a token in the log.
type Stamp struct {
	Authority string
	GenTime   time.Time
	Size      int64 // of the stamped tree: it holds the leaves below that index
	Key       string
	Leaf      int64 // index of the token's own leaf
}

// RunStamps asks each authority in its time until ctx ends. Failures are kept for StampStates and tried again; the log goes on without.
func (l *Log) RunStamps(ctx context.Context) error {
	var g errgroup.Group
	for _, a := range l.stamper.asked {
		g.Go(func() error { l.keepStamping(ctx, a); return nil })
	}
	return g.Wait()
}

// keepStamping waits for the authority's time and asks it: alone, so that a slow one holds up no other.
func (l *Log) keepStamping(ctx context.Context, a stampAuthority) {
	for {
		wait := l.untilDue(ctx, a)
		if wait <= 0 {
			_, err := l.stampRound(ctx, a, false)
			switch {
			case err == nil:
			case ctx.Err() != nil:
				return
			case errors.Is(err, errNotDue), fault.Is(err, fault.KindPending): // another replica's turn, or nothing to stamp yet
				wait = min(time.Second, l.stamper.every)
			default:
				l.log.WarnContext(ctx, "no trusted timestamp", "authority", a.name, "err", err)
				wait = min(time.Second, l.stamper.every) // the state says when; this is for a database that is away
				if l.Halted() != "" {
					wait = time.Minute
				}
			}
		}
		if !pause(ctx, wait) {
			return
		}
	}
}

// untilDue is how long the authority need not be asked.
func (l *Log) untilDue(ctx context.Context, a stampAuthority) time.Duration {
	states, err := l.q.StampAuthorities(ctx, []string{a.name})
	if err != nil {
		return min(5*time.Second, l.stamper.every)
	}
	if len(states) == 0 {
		return 0
	}
	// Another replica may ask earlier than this one wakes up: never sleep past what its clock could have changed.
	return min(states[0].NextAt.Sub(l.now()), 5*time.Minute)
}

// errNotDue says that another one is asking, or that it isn't time yet.
var errNotDue = errors.New("not due")

// stampRound asks once: the newest checkpoint, one token, one leaf. atOnce is for exports, which don't wait for the authority's time.
func (l *Log) stampRound(ctx context.Context, a stampAuthority, atOnce bool) (Stamp, error) {
	if err := l.refuse(); err != nil {
		return Stamp{}, err
	}
	_, c, err := l.published(ctx)
	if err != nil {
		return Stamp{}, err
	}
	now := l.now()
	if err := l.q.KnowAuthority(ctx, db.KnowAuthorityParams{Authority: a.name, Now: now}); err != nil {
		return Stamp{}, pg.Away(fmt.Errorf("know time-stamp authority: %w", err))
	}
	attempts, err := l.q.ClaimAuthority(ctx, db.ClaimAuthorityParams{Authority: a.name, Now: &now, Lease: now.Add(stampLease), AtOnce: atOnce})
	if errors.Is(err, pgx.ErrNoRows) {
		return Stamp{}, errNotDue
	}
	if err != nil {
		return Stamp{}, pg.Away(fmt.Errorf("claim time-stamp authority: %w", err))
	}
	s, err := l.askAndLog(ctx, a, c)
	// The outcome is told even when the export that asked has left.
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err != nil {
		var d *stamp.Defect
		wait := jitter(min(firstRetry<<min(attempts-1, 20), l.stamper.every))
		return s, errors.Join(err, l.q.AuthorityFailed(after, db.AuthorityFailedParams{
			Authority: a.name, Error: stampReason(err), Refused: errors.As(err, &d), NextAt: l.now().Add(wait)}))
	}
	return s, l.q.AuthorityHeld(after, db.AuthorityHeldParams{Authority: a.name, NextAt: l.now().Add(l.stamper.every)})
}

// jitter keeps authorities and replicas from being in step: between half of it and all of it.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// stampReason is what people are told of a failure.
func stampReason(err error) string {
	var d *stamp.Defect
	switch {
	case errors.As(err, &d):
		return d.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "时间戳机构没有及时答复 | the authority didn't answer in time"
	}
	return "没有得到时间戳 | no timestamp: " + err.Error()
}

func (l *Log) askAndLog(ctx context.Context, a stampAuthority, c chain.Checkpoint) (Stamp, error) {
	body := c.Text()
	digest := sha256.Sum256([]byte(body))
	nonce := stamp.NewNonce()
	request, err := stamp.Request(digest, nonce)
	if err != nil {
		return Stamp{}, err
	}
	ask, cancel := context.WithTimeout(ctx, stampTimeout)
	defer cancel()
	answer, err := l.stamper.tsa.Ask(ask, a.address, request)
	if err != nil {
		return Stamp{}, err
	}
	token, err := stamp.Token(answer)
	var info stamp.Info
	if err == nil {
		info, err = stamp.Verify(token, digest, nonce, l.stamper.roots)
	}
	if err != nil {
		return Stamp{}, errors.Join(err, l.keepRefused(ctx, a, body, answer, err))
	}
	return l.logStamp(ctx, chain.TimestampPayload{Authority: a.name, Body: body, Token: token, GenTime: info.GenTime.UnixMilli()}, c.Size)
}

// keepRefused keeps an answer that doesn't hold, as it came: whoever looks into it needs the bytes.
func (l *Log) keepRefused(ctx context.Context, a stampAuthority, body string, answer []byte, why error) error {
	l.log.ErrorContext(ctx, "time-stamp authority answered with something that doesn't hold", "authority", a.name, "err", why)
	sum := sha256.Sum256(answer)
	_, err := l.q.KeepRefused(ctx, db.KeepRefusedParams{Sum: sum[:], Authority: a.name, Body: body, Answer: answer, Reason: why.Error(), At: l.now(), Most: maxRefused})
	if err != nil {
		return pg.Away(fmt.Errorf("keep the answer: %w", err))
	}
	return nil
}

// stampKey is the idempotency key of a token's leaf: the same token, however often it comes, is one leaf.
func stampKey(token []byte) string {
	sum := sha256.Sum256(token)
	return "timestamp/" + hex.EncodeToString(sum[:])
}

// logStamp appends a verified token.
func (l *Log) logStamp(ctx context.Context, p chain.TimestampPayload, size int64) (Stamp, error) {
	key := stampKey(p.Token)
	err := l.Do(ctx, func(ctx context.Context, tx *pg.Tx) error {
		err := l.q.WithTx(tx).AddTimestamp(ctx, db.AddTimestampParams{Key: key, Authority: p.Authority, Size: size, GenTime: time.UnixMilli(p.GenTime).UTC()})
		if err != nil {
			return fmt.Errorf("add timestamp: %w", err)
		}
		return l.Append(tx, chain.Entry{Key: key, Kind: chain.KindTimestamp, Subject: stampSubject, Payload: p})
	})
	if err != nil {
		return Stamp{}, fmt.Errorf("log timestamp: %w", err)
	}
	f, err := l.ByKey(ctx, key)
	if err != nil {
		return Stamp{}, err
	}
	return Stamp{Authority: p.Authority, GenTime: time.UnixMilli(p.GenTime).UTC(), Size: size, Key: key, Leaf: f.Seq}, nil
}

// Stamps says whether any authority is configured.
func (l *Log) Stamps() bool { return len(l.stamper.asked) > 0 }

// Stamped is what came of asking one authority: a token, or in the caller's words why there is none.
type Stamped struct {
	Stamp
	Missing string
}

// StampNow asks every authority for a token over the newest checkpoint and gives what there is after wait at the latest; nil when none
// is configured. A token that comes later than that is not waited for: the authority is asked again in its time.
func (l *Log) StampNow(ctx context.Context, wait time.Duration) []Stamped {
	if len(l.stamper.asked) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	out := make([]Stamped, len(l.stamper.asked))
	var g errgroup.Group
	for i, a := range l.stamper.asked {
		g.Go(func() error {
			s, err := l.stampRound(ctx, a, true)
			out[i] = Stamped{Stamp: s}
			if err != nil {
				l.log.WarnContext(ctx, "no trusted timestamp", "authority", a.name, "err", err)
				out[i].Authority, out[i].Missing = a.name, stampReason(err)
			}
			return nil
		})
	}
	_ = g.Wait() // its functions return nil
	return out
}

// StampState is where one authority stands.
type StampState struct {
	Stamp        // the newest token; zero if there is none
	State string // "ok", "late": no token for two rounds, "failed": the last attempt
	Error string // of the last attempt
}

// StampStates tells of every configured authority, and of carried tokens if there are any.
func (l *Log) StampStates(ctx context.Context) ([]StampState, error) {
	newest, err := l.q.NewestTimestamps(ctx)
	if err != nil {
		return nil, pg.Away(fmt.Errorf("read timestamps: %w", err))
	}
	have := map[string]Stamp{}
	for _, t := range newest {
		have[t.Authority] = Stamp{t.Authority, t.GenTime, t.Size, t.Key, t.Seq}
	}
	names := make([]string, len(l.stamper.asked))
	for i, a := range l.stamper.asked {
		names[i] = a.name
	}
	rows, err := l.q.StampAuthorities(ctx, names)
	if err != nil {
		return nil, pg.Away(fmt.Errorf("read time-stamp authorities: %w", err))
	}
	tried := map[string]db.LogTimestampState{}
	for _, r := range rows {
		tried[r.Authority] = r
	}
	out := []StampState{}
	for _, n := range names {
		s := StampState{Stamp: have[n], State: "ok", Error: tried[n].Error}
		s.Authority = n
		switch {
		case s.Error != "":
			s.State = "failed"
		case l.now().Sub(s.GenTime) > 2*l.stamper.every:
			s.State = "late"
		}
		out = append(out, s)
	}
	if c, has := have[Carried]; has {
		s := StampState{Stamp: c, State: "ok"}
		if len(names) == 0 && l.now().Sub(c.GenTime) > 31*24*time.Hour { // carried by hand, once a month will do
			s.State = "late"
		}
		out = append(out, s)
	}
	return out, nil
}

// StampRequest gives the TimeStampReq over the newest checkpoint, to be carried to an authority, and remembers what it was for. fault.Pending
// before the first checkpoint.
func (l *Log) StampRequest(ctx context.Context) (request []byte, size int64, err error) {
	_, c, err := l.published(ctx)
	if err != nil {
		return nil, 0, err
	}
	digest := sha256.Sum256([]byte(c.Text()))
	if err := l.q.KeepRequest(ctx, db.KeepRequestParams{Digest: digest[:], Body: c.Text(), At: l.now()}); err != nil {
		return nil, 0, pg.Away(fmt.Errorf("keep time-stamp request: %w", err))
	}
	request, err = stamp.Request(digest, nil)
	return request, c.Size, err
}

// ImportStamp verifies an answer that was carried in (a TimeStampResp or the token alone) and logs it. The same file again gives the leaf
// it made. fault.Invalid says what doesn't hold.
func (l *Log) ImportStamp(ctx context.Context, file []byte) (Stamp, error) {
	if l.stamper.roots == nil {
		return Stamp{}, fault.Invalid("没有给出时间戳机构的根证书（--tsa-roots），无法判断令牌的真伪")
	}
	token, err := stamp.Carried(file)
	var claim stamp.Info
	if err == nil {
		claim, err = stamp.Read(token)
	}
	if err != nil {
		return Stamp{}, notAStamp(err)
	}
	body, err := l.q.RequestBody(ctx, claim.Digest[:])
	if errors.Is(err, pgx.ErrNoRows) {
		return Stamp{}, fault.Invalid("这个时间戳盖的不是本日志导出的请求").Then("请先导出时间戳请求，由时间戳机构对该请求盖时间戳")
	}
	if err != nil {
		return Stamp{}, pg.Away(fmt.Errorf("read time-stamp request: %w", err))
	}
	info, err := stamp.Verify(token, sha256.Sum256([]byte(body)), nil, l.stamper.roots)
	if err != nil {
		return Stamp{}, notAStamp(err)
	}
	c, err := chain.ParseCheckpoint(body)
	if err != nil {
		return Stamp{}, fmt.Errorf("time-stamp request: %w", err)
	}
	root, err := l.rootAt(ctx, c.Size)
	if err != nil {
		return Stamp{}, err
	}
	if c.Origin != l.Origin() || root != c.Root {
		return Stamp{}, fault.Conflict("导出请求时的存证点不是本日志的过去：日志可能被替换")
	}
	if old, err := l.ByKey(ctx, stampKey(token)); err == nil { // it came before, maybe from the authority itself
		return Stamp{Authority: Carried, GenTime: info.GenTime, Size: c.Size, Key: old.Key, Leaf: old.Seq}, nil
	} else if !fault.Is(err, fault.KindNotFound) {
		return Stamp{}, err
	}
	return l.logStamp(ctx, chain.TimestampPayload{Authority: Carried, Body: body, Token: token, GenTime: info.GenTime.UnixMilli()}, c.Size)
}

func notAStamp(err error) error {
	var d *stamp.Defect
	if errors.As(err, &d) {
		return fault.Invalid("时间戳不成立：%s", d.Zh).Because(err)
	}
	return err
}

// StampsFor gives the tokens that say most about these leaves: for each the earliest that covers it, and the newest of all of each
// authority. Only those that hold under the roots in force: nobody else's word is put before a court.
func (l *Log) StampsFor(ctx context.Context, leaves []int64) ([]Stamp, error) {
	if l.stamper.roots == nil {
		return nil, nil
	}
	c := &stampChoice{l: l, judged: map[string]bool{}, chosen: map[string]bool{}}
	for _, seq := range leaves {
		rows, err := l.q.TimestampsCovering(ctx, db.TimestampsCoveringParams{Seq: seq, Most: 16})
		if err != nil {
			return nil, pg.Away(fmt.Errorf("read timestamps: %w", err))
		}
		for _, r := range rows {
			took, err := c.take(ctx, Stamp{r.Authority, r.GenTime, r.Size, r.Key, r.Seq})
			if err != nil {
				return nil, err
			}
			if took {
				break
			}
		}
	}
	newest, err := l.q.NewestTimestamps(ctx)
	if err != nil {
		return nil, pg.Away(fmt.Errorf("read timestamps: %w", err))
	}
	asked := map[string]bool{Carried: true}
	for _, a := range l.stamper.asked {
		asked[a.name] = true
	}
	for _, r := range newest {
		if !asked[r.Authority] { // one that is asked no more has no newest word
			continue
		}
		if _, err := c.take(ctx, Stamp{r.Authority, r.GenTime, r.Size, r.Key, r.Seq}); err != nil {
			return nil, err
		}
	}
	return c.out, nil
}

type stampChoice struct {
	l              *Log
	judged, chosen map[string]bool
	out            []Stamp
}

// take adds a token once, if it holds.
func (c *stampChoice) take(ctx context.Context, s Stamp) (bool, error) {
	holds, known := c.judged[s.Key]
	if !known {
		f, err := c.l.ByKey(ctx, s.Key)
		if err != nil {
			return false, err
		}
		p, err := chain.Payload[chain.TimestampPayload](f.Payload)
		if err == nil {
			_, err = stamp.Verify(p.Token, sha256.Sum256([]byte(p.Body)), nil, c.l.stamper.roots)
		}
		holds = err == nil
		c.judged[s.Key] = holds
	}
	if holds && !c.chosen[s.Key] {
		c.chosen[s.Key] = true
		c.out = append(c.out, s)
	}
	return holds, nil
}

// ProveStamped proves that the tree of a stamped size is the beginning of a later one.
func (l *Log) ProveStamped(ctx context.Context, stamped, size int64) ([]chain.Hash, error) {
	root, err := l.rootAt(ctx, size)
	if err != nil {
		return nil, err
	}
	t := &tileReader{ctx: ctx, q: l.q, size: size}
	p, err := chain.ProveConsistency(stamped, size, root, t.read)
	if err != nil && t.err != nil {
		return nil, pg.Away(fmt.Errorf("read tiles: %w", t.err))
	}
	return p, err
}

// expectTimestamps holds each row against its leaf and collects the roots that were stamped: the tree must have had them.
func (a *audit) expectTimestamps(ctx context.Context, q *db.Queries) error {
	n, err := q.CountTimestamps(ctx)
	if err != nil {
		return err
	}
	if n.Known != n.Logged {
		a.find("log_timestamp", "有%d个时间戳，日志中有%d个", n.Known, n.Logged)
	}
	for after := ""; ; {
		rows, err := q.TimestampsToAudit(ctx, db.TimestampsToAuditParams{After: after, Most: 512})
		if err != nil || len(rows) == 0 {
			return err
		}
		for _, r := range rows {
			after = r.Key
			a.timestamp(r)
		}
	}
}

func (a *audit) timestamp(r db.TimestampsToAuditRow) {
	if r.Seq == nil {
		a.find("log_timestamp "+r.Key, "日志中没有这一叶")
		return
	}
	where := fmt.Sprint("timestamp of leaf ", *r.Seq)
	if r.Payload == nil { // erased
		return
	}
	p, err := chain.Payload[chain.TimestampPayload](r.Payload)
	if err != nil {
		a.find(where, "内容不是时间戳：%v", err)
		return
	}
	c, err := chain.ParseCheckpoint(p.Body)
	if err != nil {
		a.find(where, "所盖的不是存证点：%v", err)
		return
	}
	info, err := stamp.Read(p.Token)
	if err != nil || info.Digest != sha256.Sum256([]byte(p.Body)) || info.GenTime.UnixMilli() != p.GenTime || stampKey(p.Token) != r.Key {
		a.find(where, "令牌与所盖的存证点不符")
	}
	if c.Origin != a.l.Origin() || c.Size != r.Size || p.Authority != r.Authority || p.GenTime != r.GenTime.UnixMilli() {
		a.find(where, "所存各项与叶的内容不符")
	}
	a.expect(where, c.Size, c.Root)
}
