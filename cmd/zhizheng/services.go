package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"zhizheng/internal/blob"
	"zhizheng/internal/embedded"
	"zhizheng/internal/pg"
)

// services are where state lives: each embedded, or elsewhere by its address.
type services struct {
	databaseURL string
	store       *blob.Store
	stored      blob.Options // how the store is reached, for clients of their own
	probe       blob.ProbeResult
	postgres    *embedded.Postgres // nil when external
	s3          *embedded.S3       // nil when external
}

// startServices starts database and store side by side and returns when both answer: the schema is current, the store is probed.
func (c *serviceConfig) startServices(ctx context.Context, p *progress, logger *slog.Logger) (_ *services, err error) {
	svc := &services{}
	defer func() {
		if err != nil {
			err = errors.Join(err, svc.stop())
		}
	}()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return p.step("数据库 PostgreSQL", func() error { return c.startDatabase(gctx, svc, logger) })
	})
	g.Go(func() error {
		return p.step("对象存储 S3", func() error { return c.startStore(gctx, svc, logger) })
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return svc, nil
}

func (c *serviceConfig) startDatabase(ctx context.Context, svc *services, logger *slog.Logger) error {
	svc.databaseURL = c.DatabaseURL
	if svc.databaseURL == "" {
		start, cancel := context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
		var err error
		if svc.postgres, err = embedded.StartPostgres(start, embedded.PostgresOptions{Dir: c.Data, Log: logger}); err != nil {
			return err
		}
		svc.databaseURL = svc.postgres.URL()
	}
	return pg.Migrate(ctx, svc.databaseURL)
}

func (c *serviceConfig) startStore(ctx context.Context, svc *services, logger *slog.Logger) error {
	o := blob.Options{Endpoint: c.S3Endpoint, PublicEndpoint: c.S3Public, Bucket: c.S3Bucket, Region: c.S3Region, AccessKey: c.S3AccessKey, SecretKey: c.S3SecretKey}
	if o.Endpoint == "" {
		var err error
		if svc.s3, err = embedded.StartS3(ctx, embedded.S3Options{Dir: c.Data, Listen: c.S3Listen, Log: logger}); err != nil {
			return addressHint(err, c.S3Listen, "--s3-listen")
		}
		o.Endpoint = svc.s3.Endpoint()
		o.AccessKey, o.SecretKey = svc.s3.Credentials()
	}
	svc.stored = o
	var err error
	if svc.store, err = blob.Open(ctx, o); err != nil {
		return err
	}
	svc.probe, err = blob.Probe(ctx, blob.ProbeOptions{Options: o})
	return err
}

// addressHint says which setting chooses another address when one is taken.
func addressHint(err error, address, setting string) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("地址 %s 不可用（可能另一个程序正在使用，可用 %s 另选）：%w", address, setting, err)
	}
	return err
}

// watch ends the server when an embedded service ends for good.
func (s *services) watch(ctx context.Context, g *errgroup.Group) {
	if s.postgres != nil {
		g.Go(func() error {
			select {
			case <-s.postgres.Done():
				return fmt.Errorf("embedded database ended: %w", orUnknown(s.postgres.Err()))
			case <-ctx.Done():
				return nil
			}
		})
	}
	if s.s3 != nil {
		g.Go(func() error {
			select {
			case <-s.s3.Done():
				return fmt.Errorf("embedded store ended: %w", orUnknown(s.s3.Err()))
			case <-ctx.Done():
				return nil
			}
		})
	}
}

func orUnknown(err error) error {
	if err == nil {
		return errors.New("no reason given")
	}
	return err
}

// stop ends the store before the database, which is what others depend on longest.
func (s *services) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var errs []error
	if s.store != nil {
		s.store.Close()
	}
	if s.s3 != nil {
		errs = append(errs, s.s3.Stop(ctx))
	}
	if s.postgres != nil {
		errs = append(errs, s.postgres.Stop(ctx))
	}
	return errors.Join(errs...)
}

// probeText is the probe's transcript for the log and `zhizheng probe`.
func probeText(r blob.ProbeResult) string {
	var b strings.Builder
	for _, st := range r.Transcript {
		mark := "✓"
		if !st.OK {
			mark = "✗"
		}
		fmt.Fprintf(&b, "%s %s：%s\n", mark, st.Text, st.Got)
	}
	return b.String()
}
