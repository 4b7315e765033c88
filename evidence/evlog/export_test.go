package evlog

import "context"

// Waiting tells a test how many callers of Do wait for the next batch.
func Waiting(l *Log) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// Publish makes a checkpoint now, if the tree grew.
func Publish(ctx context.Context, l *Log) error {
	_, _, err := l.publish(ctx)
	return err
}

// CopyOut brings the store up to the latest checkpoint now, and tells how far it got.
func CopyOut(ctx context.Context, l *Log) (int64, error) { return l.copyOut(ctx) }

// WatchKeys looks at the signer's keys now.
func WatchKeys(ctx context.Context, l *Log) error { return l.watchKeys(ctx) }
