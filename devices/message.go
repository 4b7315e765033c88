package devices

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"zhizheng/internal/id"
)

// Topic root of version 1: zz/v1/{bucket}/{device}/up/{kind} and …/down/{kind}.
const topicRoot = "zz/v1/"

// maxBody bounds a message; what is longer is no message of a device.
const maxBody = 16 << 10

// Kinds of messages that are stored. conn is presence; manifest and upreq are taken over HTTP.
const (
	kindHeartbeat = "hb"
	kindPosition  = "pos"
	kindDock      = "dock"
	kindState     = "state"
	kindAck       = "ack"
	kindConn      = "conn"
)

// State is what a device last said, and whether it is there. Nil fields were never said.
type State struct {
	ID                             string
	Connected                      bool
	LastData, LastDock, LastUpload *time.Time
	Battery, StorageUsed           *int // percent
	Docked                         *bool
	State                          string        // what it says of itself: idle, recording, docked, …
	Skew                           time.Duration // its clock minus ours when it last spoke
}

// Snapshot is the part of a message that changes the latest state.
type Snapshot struct {
	Battery     *int   `json:"battery,omitempty"`
	StorageUsed *int   `json:"storage_used,omitempty"`
	Docked      *bool  `json:"docked,omitempty"`
	State       string `json:"state,omitempty"`

	Command *Answer `json:"command,omitempty"` // of ack
}

// Answer is what a device says of a command: "accepted", then "done" or "refused" with the reason.
type Answer struct {
	ID     int64  `json:"id"`
	Result string `json:"result"`
	Reason string `json:"reason,omitempty"` // or where it is, for locate
}

// Envelope is a message's body. Its fields are a CloudEvent's: epoch and seq its id, device and kind of the topic its source and type.
// Epoch rises with each boot, seq with each message of a boot; both outlive a crash of the device.
type Envelope struct {
	Epoch int64     `json:"epoch"`
	Seq   int64     `json:"seq"`
	Time  time.Time `json:"time"`
	Data  Snapshot  `json:"data"`
}

// Message is one that was understood.
type Message struct {
	Device, Kind string
	Envelope
	Body []byte
}

// Bucket is the part of a device's topics that spreads devices over servers: two hex digits of SHA-256(device).
func Bucket(device string) string {
	h := sha256.Sum256([]byte(device))
	return hex.EncodeToString(h[:1])
}

// UpTopic is where a device publishes a kind of message; DownTopics is the filter it may subscribe.
func UpTopic(device, kind string) string {
	return topicRoot + Bucket(device) + "/" + device + "/up/" + kind
}

// DownTopics is the filter of what is sent to a device.
func DownTopics(device string) string {
	return topicRoot + Bucket(device) + "/" + device + "/down/#"
}

func downTopic(device, kind string) string {
	return topicRoot + Bucket(device) + "/" + device + "/down/" + kind
}

// ParseTopic gives device and kind of an up topic.
func ParseTopic(topic string) (device, kind string, err error) {
	rest, ok := strings.CutPrefix(topic, topicRoot)
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 4 || parts[2] != "up" {
		return "", "", errors.New("not a topic of version 1")
	}
	device, kind = parts[1], parts[3]
	if !id.Valid(device) || parts[0] != Bucket(device) {
		return "", "", errors.New("device or bucket of the topic is wrong")
	}
	return device, kind, nil
}

// ParseMessage reads a message; the error is the reason under which the bytes are kept.
func ParseMessage(topic string, body []byte) (Message, error) {
	device, kind, err := ParseTopic(topic)
	if err != nil {
		return Message{}, err
	}
	switch kind {
	case kindHeartbeat, kindPosition, kindDock, kindState, kindAck:
	case "manifest", "upreq":
		return Message{}, fmt.Errorf("%s is taken over HTTP, not over MQTT", kind)
	default:
		return Message{}, errors.New("unknown kind of message")
	}
	if len(body) > maxBody {
		return Message{}, fmt.Errorf("body has %d bytes, more than %d", len(body), maxBody)
	}
	m := Message{Device: device, Kind: kind, Body: body}
	if len(body) == 0 || body[0] != '{' { // other first bytes are reserved for a binary form
		return Message{}, errors.New("body is no JSON object")
	}
	if err := json.Unmarshal(body, &m.Envelope); err != nil {
		return Message{}, fmt.Errorf("body: %w", err)
	}
	return m, m.check()
}

func (m *Message) check() error {
	percents := []struct {
		name string
		v    *int
	}{{"battery", m.Data.Battery}, {"storage_used", m.Data.StorageUsed}}
	for _, p := range percents {
		if p.v != nil && (*p.v < 0 || *p.v > 100) {
			return fmt.Errorf("%s %d is no percentage", p.name, *p.v)
		}
	}
	if a := m.Data.Command; a != nil && (a.ID <= 0 || (a.Result != "accepted" && a.Result != "done" && a.Result != "refused") ||
		utf8.RuneCountInString(a.Reason) > 200 || strings.ContainsRune(a.Reason, 0)) {
		return errors.New("answer of a command has no id, an unknown result or too long a reason")
	}
	switch {
	case m.Epoch <= 0 || m.Seq < 0:
		return errors.New("epoch or seq is missing or negative")
	case m.Time.IsZero() || m.Time.Year() < 1970 || m.Time.Year() > 9999:
		return errors.New("time is missing or out of range")
	case utf8.RuneCountInString(m.Data.State) > 32 || strings.ContainsRune(m.Data.State, 0):
		return errors.New("state is too long or holds a zero byte")
	}
	return nil
}

// Presence is the body of a conn message: birth and will carry the session's id, so that an old will can't end a new session. Goodbye
// is what a device says that leaves by itself; a will doesn't.
type Presence struct {
	Session string `json:"session"`
	Online  bool   `json:"online"`
	Goodbye bool   `json:"goodbye,omitempty"`
}

// ParsePresence reads a conn message.
func ParsePresence(body []byte) (p Presence, err error) {
	if len(body) > 512 {
		return p, errors.New("presence has more than 512 bytes")
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return p, fmt.Errorf("presence: %w", err)
	}
	if p.Session == "" || len(p.Session) > 64 {
		return p, errors.New("presence names no session")
	}
	return p, nil
}
