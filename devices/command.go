package devices

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"zhizheng/authority"
	"zhizheng/devices/internal/db"
	"zhizheng/evidence/chain"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// What a device can be told to do.
const (
	Locate    = "locate"
	Lock      = "lock"
	SyncClock = "sync-clock"
	Configure = "config"
)

// Order is a command as its giver words it.
type Order struct {
	Kind    string
	Args    json.RawMessage // of config; at most 4 KiB
	Reason  string
	Expires time.Duration // 0 is a day
}

// Command is a command and how far it is: waiting, sent, accepted, then done, refused or expired.
type Command struct {
	ID                            int64
	Device, Kind, Reason, GivenBy string
	State, Answer                 string
	GivenAt, ExpiresAt            time.Time
	SentAt, AnsweredAt            *time.Time
}

// CommandText is what is signed: a device checks that it is meant, that the id is above the last it took, and that it isn't late.
type CommandText struct {
	ID      int64           `json:"id"`
	Device  string          `json:"device"`
	Command string          `json:"command"`
	Args    json.RawMessage `json:"args,omitempty"`
	Given   time.Time       `json:"given"`
	Expires time.Time       `json:"expires"`
}

// SignedCommand is what is published to down/cmd: Payload is the bytes of a CommandText, Signature is Ed25519 of CommandContext and Payload.
type SignedCommand struct {
	Payload   []byte `json:"payload"`
	Signature []byte `json:"signature"`
}

// CommandContext keeps the key's signatures apart from any other use of it.
const CommandContext = "zhizheng device command v1\x00"

const (
	commandLife    = 24 * time.Hour
	maxCommandLife = 30 * 24 * time.Hour
	maxArgs        = 4 << 10
	commandEvery   = 5 * time.Second
)

// Sender is a broker's way to devices; nil doesn't say that the device is there.
type Sender interface {
	Send(topic string, body []byte) error
}

// SendBy names the way to devices.
func (s *Service) SendBy(w Sender) { s.sender.Store(&w) }

// CommandKey is the public key that devices check commands with.
func (s *Service) CommandKey() ed25519.PublicKey {
	if s.commandKey == nil {
		return nil
	}
	return s.commandKey.Public().(ed25519.PublicKey)
}

// Give gives a device a command: row and leaf first, then the message.
func (s *Service) Give(ctx context.Context, idOrSerial string, o Order) (Command, error) {
	if o.Expires == 0 {
		o.Expires = commandLife
	}
	switch {
	case !slices.Contains([]string{Locate, Lock, SyncClock, Configure}, o.Kind):
		return Command{}, fault.Invalid("没有这种指令")
	case (o.Kind == Configure) != (len(o.Args) > 0):
		return Command{}, fault.Invalid("配置指令须带内容，其他指令不带")
	case len(o.Args) > maxArgs || o.Expires < time.Minute || o.Expires > maxCommandLife:
		return Command{}, fault.Invalid("指令内容至多 4 KiB，有效期为一分钟至三十天")
	case s.commandKey == nil || s.leaves == nil:
		return Command{}, fault.Unavailable(time.Minute, "本服务没有签发指令的密钥")
	}
	d, err := s.Get(ctx, idOrSerial)
	if err != nil {
		return Command{}, err
	}
	now := s.now().UTC().Truncate(time.Millisecond)
	c := Command{Device: d.ID, Kind: o.Kind, Reason: o.Reason, GivenBy: authority.ActorFrom(ctx).UserID, State: "waiting", GivenAt: now, ExpiresAt: now.Add(o.Expires)}
	err = pg.InTx(ctx, s.pool, func(tx *pg.Tx) error {
		q := db.New(tx)
		if _, err := q.LockDevice(ctx, d.ID); err != nil { // a device's ids are committed in their order
			return fmt.Errorf("look up device: %w", err)
		}
		if c.ID, err = q.NextCommand(ctx); err != nil {
			return fmt.Errorf("number the command: %w", err)
		}
		text, err := json.Marshal(CommandText{c.ID, d.ID, o.Kind, o.Args, c.GivenAt, c.ExpiresAt})
		if err != nil {
			return fault.Invalid("指令内容不是 JSON").Because(err)
		}
		body, err := json.Marshal(SignedCommand{text, ed25519.Sign(s.commandKey, append([]byte(CommandContext), text...))})
		if err != nil {
			return err
		}
		err = q.AddCommand(ctx, db.AddCommandParams{ID: c.ID, DeviceID: d.ID, Kind: o.Kind, Body: body, Reason: o.Reason, GivenBy: c.GivenBy, GivenAt: c.GivenAt, ExpiresAt: c.ExpiresAt})
		if err != nil {
			return fmt.Errorf("keep command: %w", err)
		}
		h := sha256.Sum256(text)
		return s.leaves.Append(tx, chain.Entry{Key: "command/" + strconv.FormatInt(c.ID, 10), Kind: chain.KindCommandGiven, Subject: deviceSubject(d.ID), Time: now,
			Payload: chain.CommandPayload{ID: c.ID, Device: d.ID, Command: o.Kind, Digest: h[:], Expires: c.ExpiresAt.UnixMilli(), Reason: o.Reason, Actor: c.GivenBy}})
	})
	if err != nil {
		return Command{}, err
	}
	s.commandsFor("") // crash before it: the next look finds it waiting
	return c, nil
}

func deviceSubject(id string) chain.Subject { return chain.Subject{Type: chain.SubjectDevice, ID: id} }

// Commands gives a device's latest hundred, newest first.
func (s *Service) Commands(ctx context.Context, idOrSerial string) ([]Command, error) {
	d, err := s.Get(ctx, idOrSerial)
	if err != nil {
		return nil, err
	}
	rows, err := s.q.ListCommands(ctx, db.ListCommandsParams{DeviceID: d.ID, Max: 100})
	if err != nil {
		return nil, fmt.Errorf("list commands: %w", err)
	}
	all := make([]Command, len(rows))
	for i, r := range rows {
		all[i] = Command{ID: r.ID, Device: r.DeviceID, Kind: r.Kind, Reason: r.Reason, GivenBy: r.GivenBy, State: r.State, Answer: r.Answer, GivenAt: r.GivenAt,
			ExpiresAt: r.ExpiresAt, SentAt: r.SentAt, AnsweredAt: r.AnsweredAt}
	}
	return all, nil
}

// Listening notes that a device hears what is sent to it: what it has not answered for good is sent again.
func (s *Service) Listening(device string) { s.commandsFor(device) }

func (s *Service) commandsFor(device string) {
	select {
	case s.toSend <- device:
	default: // they all come at once: the next look sends to all that wait
	}
}

func (s *Service) runCommands(ctx context.Context) {
	t := time.NewTicker(commandEvery)
	defer t.Stop()
	for {
		device := ""
		select {
		case <-ctx.Done():
			return
		case device = <-s.toSend:
		case <-t.C:
			if err := s.endCommands(ctx); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "ends of commands not recorded, trying again", "err", err)
			}
		}
		if err := s.sendCommands(ctx, device); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "commands not sent, trying again", "err", err)
		}
	}
}

func (s *Service) sendCommands(ctx context.Context, device string) error {
	w := s.sender.Load()
	if w == nil {
		return nil
	}
	rows, err := s.q.CommandsToSend(ctx, db.CommandsToSendParams{Now: s.now(), Device: device})
	if err != nil {
		return fmt.Errorf("look for commands: %w", err)
	}
	for _, r := range rows {
		if err := (*w).Send(downTopic(r.DeviceID, "cmd"), r.Body); err != nil {
			return fmt.Errorf("send command %d: %w", r.ID, err)
		}
		if err := s.q.CommandSent(ctx, db.CommandSentParams{ID: r.ID, At: s.now()}); err != nil {
			return fmt.Errorf("note command %d sent: %w", r.ID, err)
		}
	}
	return nil
}

// answers writes what devices say of commands, in the transaction that stores their messages.
func (s *Service) answers(ctx context.Context, q *db.Queries, news []*letter, now time.Time) error {
	for _, l := range news {
		a := l.msg.Data.Command
		if l.msg.Kind != kindAck || a == nil {
			continue
		}
		if err := q.AnswerCommand(ctx, db.AnswerCommandParams{ID: a.ID, Device: l.msg.Device, State: a.Result, Answer: a.Reason, At: now}); err != nil {
			return fmt.Errorf("answer of command %d: %w", a.ID, err)
		}
	}
	return nil
}

// endCommands marks what is too late and gives each end its leaf. Apart from the messages that tell of it: a log that stands still must
// not stop those.
func (s *Service) endCommands(ctx context.Context) error {
	if err := s.q.ExpireCommands(ctx, s.now()); err != nil {
		return fmt.Errorf("expire commands: %w", err)
	}
	if s.leaves == nil {
		return nil
	}
	rows, err := s.q.EndedCommands(ctx)
	if err != nil {
		return fmt.Errorf("look for ended commands: %w", err)
	}
	for _, r := range rows {
		at := r.ExpiresAt
		if r.AnsweredAt != nil && r.State != "expired" {
			at = *r.AnsweredAt
		}
		err := pg.InTx(ctx, s.pool, func(tx *pg.Tx) error { // a second server finds the leaf there
			if err := db.New(tx).CommandEndLogged(ctx, r.ID); err != nil {
				return fmt.Errorf("note end of command: %w", err)
			}
			return s.leaves.Append(tx, chain.Entry{Key: "command-ended/" + strconv.FormatInt(r.ID, 10), Kind: chain.KindCommandEnded, Subject: deviceSubject(r.DeviceID), Time: at,
				Payload: chain.CommandEndPayload{ID: r.ID, Device: r.DeviceID, Outcome: r.State, Reason: r.Answer}})
		})
		if err != nil {
			return err
		}
	}
	return nil
}
