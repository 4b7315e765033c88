package evlog

// Waiting tells a test how many callers of Do wait for the next batch.
func Waiting(l *Log) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}
