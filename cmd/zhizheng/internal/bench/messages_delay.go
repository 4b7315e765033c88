package main

import (
	"context"
	"fmt"
)

// delay compares how long after a message was due it is committed, at steady rates: ours and Telegraf, tuned, in turns. The time of a commit is when the
// database began to write it, a flush of the disk before its end, for both.
func (b *messageBench) delay(ctx context.Context) error {
	telegraf, err := peer()
	if err != nil {
		return err
	}
	const seconds = 7 // the first is not counted
	for _, x := range []struct {
		rate   int
		target string
	}{{2000, "≤ 0.15"}, {10_000, "≤ 1"}, {20_000, "≤ 1"}} {
		var own, ratios []float64
		for range messageRounds {
			o, err := b.measure(ctx, b.ours, seconds*x.rate, x.rate)
			if err != nil {
				return err
			}
			own = append(own, o.p99)
			if !telegraf {
				continue
			}
			p, err := b.measure(ctx, func(m *mosquitto) (*consumer, error) { return b.telegraf(m, true) }, seconds*x.rate, x.rate)
			if err != nil {
				return err
			}
			ratios = append(ratios, o.p99/p.p99)
		}
		figure(fmt.Sprintf("messages: published to committed at %d a second, p99", x.rate), middle(own), "ms", "-")
		if telegraf {
			figure("messages: … against Telegraf, tuned", middle(ratios), "x", x.target)
		}
	}
	return nil
}
