package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"zhizheng/ingest/manifest"
)

// tellPatience is how long a state is tried: it holds up nothing, and the next one says more.
const tellPatience = 20 * time.Second

// stating runs a docking between two signed states, with more of them while it lasts: one says where the chain stands as it begins, the
// last one closes it and names the recorder. A state that can't be sent is told to the operator and changes nothing else: what is
// missing then is the statement, and the platform shows the chain's end as unknown. Crash in between: the same.
func (a *agent) stating(ctx context.Context, docking func() error) error {
	during, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.tell(during, false)
		tick := time.NewTicker(a.c.States)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				a.tell(during, false)
			case <-during.Done():
				return
			}
		}
	}()
	err := docking()
	stop()
	<-ended
	if err == nil {
		a.tell(ctx, true)
	}
	return err
}

// tell signs a state and sends it.
func (a *agent) tell(ctx context.Context, closing bool) {
	defer a.pace.goFirst()()
	if err := a.sendState(ctx, closing); err != nil && ctx.Err() == nil {
		a.show.note("签名状态没有送达：" + plain(err))
	}
}

func (a *agent) sendState(ctx context.Context, closing bool) error {
	checkpoint := a.trust.lastHash()
	raw, err := a.state.now(func(s manifest.State) ([]byte, error) {
		s.KeyID, s.At, s.Monotonic, s.Checkpoint, s.Closing = a.id.keyID, time.Now().UnixMilli(), sinceBoot(), checkpoint, closing
		if closing {
			s.Recorder = a.c.Recorder
		}
		raw, _, err := manifest.SignState(s, a.id.key)
		return raw, err
	})
	if err != nil {
		return fmt.Errorf("签署状态：%w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, tellPatience, errors.New("服务器没有应答"))
	defer cancel()
	in := struct {
		States [][]byte `json:"states"`
	}{[][]byte{raw}}
	var out struct {
		Items []struct {
			Status string `json:"status"`
			Error  string `json:"error"`
		} `json:"items"`
	}
	if err := a.client.call(ctx, http.MethodPost, "/api/v1/device-states", in, &out); err != nil {
		return err
	}
	if len(out.Items) != 1 || out.Items[0].Status != "accepted" {
		return fmt.Errorf("服务器没有接受：%+v", out.Items)
	}
	return nil
}
