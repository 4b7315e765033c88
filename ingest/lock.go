package ingest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"zhizheng/evidence"
	"zhizheng/internal/fault"
)

// keyedLocks serialises work on one upload within this process.
type keyedLocks struct {
	mu   sync.Mutex
	held map[string]*keyedLock
}

type keyedLock struct {
	sync.Mutex
	users int
}

func (k *keyedLocks) lock(key string) (unlock func()) {
	k.mu.Lock()
	l := k.held[key]
	if l == nil {
		if k.held == nil {
			k.held = map[string]*keyedLock{}
		}
		l = &keyedLock{}
		k.held[key] = l
	}
	l.users++
	k.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(k.held, key)
		}
	}
}

// exclusively runs fn while no other server completes or restarts the upload of a record. While one completes, a store may show
// neither the upload nor the object, and another must not take it for dropped. The lock is the database session's: it ends with a
// server that is killed. Whoever finds it taken is told to come back.
func (s *Service) exclusively(ctx context.Context, eid evidence.ID, fn func() error) (err error) {
	select {
	case s.alone <- struct{}{}:
		defer func() { <-s.alone }()
	case <-ctx.Done():
		return ctx.Err()
	}
	conn, err := s.Pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("lock upload: %w", err)
	}
	defer conn.Release()
	key := "upload/" + string(eid)
	var got bool
	if err := conn.QueryRow(ctx, "select pg_try_advisory_lock(hashtextextended($1, 0))", key).Scan(&got); err != nil {
		return fmt.Errorf("lock upload: %w", err)
	}
	if !got {
		return fault.Unavailable(time.Second, "这份影像正在由另一台服务器封存，请稍候")
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if _, uerr := conn.Exec(end, "select pg_advisory_unlock(hashtextextended($1, 0))", key); uerr != nil {
			_ = conn.Conn().Close(end) // the lock ends with the session, which must not go back to the pool
		}
	}()
	return fn()
}
