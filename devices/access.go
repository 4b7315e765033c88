package devices

import (
	"context"
	"strings"
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

// TakeDirect is Take for a broker that knows itself who is connected: conn messages, which devices send for other brokers, say nothing
// new and are only acknowledged.
func (s *Service) TakeDirect(ctx context.Context, topic string, body []byte) error {
	if _, kind, err := ParseTopic(topic); err == nil && kind == kindConn {
		return nil
	}
	return s.Take(ctx, topic, body)
}
