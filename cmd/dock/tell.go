package main

import (
	"context"
	"time"
)

// tellPatience is how long a state is tried: it holds up nothing, and the next one says more.
const tellPatience = 20 * time.Second

// stating runs a docking between two signed states, with more of them while it lasts: one says where the chain stands as it begins, the
// last one closes it and names the recorder. A state that can't be sent is told to the operator and changes nothing else: what is
// missing then is the statement, and the platform shows the chain's end as unknown. Crash in between: the same.
func (a *agent) stating(ctx context.Context, docking func() error) error {
	during, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	opening := a.courier.stand(during, false, "")
	go func() {
		defer close(ended)
		a.tell(opening)
		tick := time.NewTicker(a.c.States)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				a.tell(a.courier.stand(during, false, ""))
			case <-during.Done():
				return
			}
		}
	}()
	err := docking()
	stop()
	<-ended
	if err == nil {
		a.tell(a.courier.stand(ctx, true, a.c.Recorder))
	}
	return err
}

// tell waits until a state has been sent.
func (a *agent) tell(p *parcel) {
	if err := a.courier.wait(p); err != nil && p.ctx.Err() == nil {
		a.show.note("签名状态没有送达：" + plain(err))
	}
}
