package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"golang.org/x/sync/errgroup"

	"zhizheng/devices"
)

// wire is one MQTT 3.1.1 connection as lean as it goes, so that the bench's own part costs little. Writes gather until flush.
type wire struct {
	net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
	next uint16
}

// login is how a wire comes in; nil TLS is none. From is the local address, nil for any.
type login struct {
	address        string
	tls            *tls.Config
	from           net.Addr
	id, user, pass string
	certificates   []tls.Certificate
	keepalive      time.Duration
}

func (l login) open(ctx context.Context) (*wire, error) {
	c, err := (&net.Dialer{LocalAddr: l.from}).DialContext(ctx, "tcp", l.address)
	if err != nil {
		return nil, err
	}
	if l.tls != nil {
		t := tls.Client(c, l.tls)
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c = t
	}
	x := &wire{Conn: c, r: bufio.NewReaderSize(c, 4<<10), w: bufio.NewWriterSize(c, 4<<10)}
	if err := x.hello(l); err != nil {
		return nil, errors.Join(fmt.Errorf("connect as %s: %w", l.id, err), c.Close())
	}
	return x, nil
}

func (x *wire) hello(l login) error {
	p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion, p.CleanSession = "MQTT", 4, true
	p.ClientIdentifier, p.Keepalive = l.id, uint16(l.keepalive/time.Second)
	p.UsernameFlag, p.Username = l.user != "", l.user
	p.PasswordFlag, p.Password = l.pass != "", []byte(l.pass)
	if err := errors.Join(p.Write(x.w), x.w.Flush()); err != nil {
		return err
	}
	got, err := packets.ReadPacket(x.r)
	if err != nil {
		return err
	}
	ack, ok := got.(*packets.ConnackPacket)
	if !ok {
		return fmt.Errorf("answered by %s", got)
	}
	return packets.ConnErrors[ack.ReturnCode]
}

// publish writes a message at QoS 1; its acknowledgement comes by acknowledged, in order.
func (x *wire) publish(topic string, body []byte) error {
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	if x.next++; x.next == 0 {
		x.next = 1
	}
	p.Qos, p.MessageID, p.TopicName, p.Payload = 1, x.next, topic, body
	return p.Write(x.w)
}

// acknowledged waits for the next PUBACK.
func (x *wire) acknowledged() error {
	got, err := packets.ReadPacket(x.r)
	if err != nil {
		return err
	}
	if _, ok := got.(*packets.PubackPacket); !ok {
		return fmt.Errorf("expected PUBACK: %s", got)
	}
	return nil
}

func (x *wire) subscribe(filter string) error {
	p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	p.MessageID, p.Topics, p.Qoss = 1, []string{filter}, []byte{1}
	if err := errors.Join(p.Write(x.w), x.w.Flush()); err != nil {
		return err
	}
	got, err := packets.ReadPacket(x.r)
	if err != nil {
		return err
	}
	if ack, ok := got.(*packets.SubackPacket); !ok || ack.ReturnCodes[0] != 1 {
		return fmt.Errorf("subscribe: %s", got)
	}
	return nil
}

// heartbeat is what devices send most.
func heartbeat(epoch, seq int64, at time.Time) []byte {
	battery, used := int(seq%101), 30
	b, err := json.Marshal(devices.Envelope{Epoch: epoch, Seq: seq, Time: at, Data: devices.Snapshot{Battery: &battery, StorageUsed: &used, State: "idle"}})
	if err != nil {
		panic(err) // a struct of plain fields
	}
	return b
}

const (
	loadWires  = 8
	loadWindow = 1000 // not yet acknowledged, a connection
)

// load publishes n heartbeats of all devices in turns over a few connections: rate a second, each due at its time whatever became of those
// before, or as fast as the broker takes them with rate 0. The time in a message is when it was due. A device's messages go over one
// connection, in order.
func load(ctx context.Context, address string, ids []string, epoch int64, n, rate int) error {
	g, ctx := errgroup.WithContext(ctx)
	begun := time.Now()
	for lane := range loadWires {
		x, err := login{address: address, id: fmt.Sprint("load-", lane)}.open(ctx)
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		var own []int
		for i := lane; i < n; i += loadWires {
			own = append(own, i)
		}
		window := make(chan struct{}, loadWindow)
		g.Go(func() error {
			for range own {
				if err := x.acknowledged(); err != nil {
					return err
				}
				<-window
			}
			return x.Close()
		})
		g.Go(func() error {
			for _, i := range own {
				due := time.Now()
				if rate > 0 {
					due = begun.Add(time.Duration(i) * time.Second / time.Duration(rate))
					if wait := time.Until(due); wait > 0 {
						if err := x.w.Flush(); err != nil {
							return err
						}
						time.Sleep(wait)
					}
				}
				select {
				case window <- struct{}{}:
				default:
					if err := x.w.Flush(); err != nil {
						return err
					}
					select {
					case window <- struct{}{}:
					case <-ctx.Done():
						return ctx.Err()
					}
				}
				if err := x.publish(devices.UpTopic(ids[i%len(ids)], "hb"), heartbeat(epoch, int64(i/len(ids)), due)); err != nil {
					return err
				}
			}
			return x.w.Flush()
		})
	}
	return g.Wait()
}
