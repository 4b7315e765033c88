package devices

import (
	"context"
	"strings"
	"time"
)

// May says whether a device may publish to a topic (write), or subscribe to a filter: its own prefix, nothing else.
func May(device, topic string, write bool) bool {
	own := topicRoot + Bucket(device) + "/" + device
	if write {
		kind, ok := strings.CutPrefix(topic, own+"/up/")
		return ok && kind != "" && !strings.ContainsAny(kind, "/+#\x00")
	}
	return strings.HasPrefix(topic, own+"/down/")
}

// TakeDirect is Take for a broker that knows itself who is connected, and that reads a device's next message after the answer to this one:
// a device that is ahead of its rate waits. conn messages, which devices send for other brokers, say nothing new and are only acknowledged.
func (s *Service) TakeDirect(ctx context.Context, topic string, body []byte) error {
	device, kind, err := ParseTopic(topic)
	if wait := s.measure(ctx, device); wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err == nil && kind == kindConn {
		return nil
	}
	return s.Take(ctx, topic, body)
}
