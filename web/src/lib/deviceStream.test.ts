// The stream against a real event stream over HTTP and real channels between tabs. Node has no EventSource, so Source below is
// one over fetch: it reconnects like a browser's.
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { DeviceState } from "../api/client";
import { DeviceStream, type StreamState } from "./deviceStream";

class Source {
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;
  private on = new Map<string, (e: MessageEvent<string>) => void>();
  private stop = new AbortController();
  constructor(private url: string) {
    void this.run();
  }
  addEventListener(k: string, f: (e: MessageEvent<string>) => void) {
    this.on.set(k, f);
  }
  close() {
    this.stop.abort();
  }
  private async run() {
    while (!this.stop.signal.aborted) {
      try {
        const r = await fetch(this.url, { signal: this.stop.signal });
        this.onopen?.();
        let rest = "";
        const text = new TextDecoder();
        for await (const part of r.body as unknown as AsyncIterable<Uint8Array>) {
          rest += text.decode(part, { stream: true });
          for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n")) {
            const field = Object.fromEntries(rest.slice(0, end).split("\n").map((l) => [l.slice(0, l.indexOf(":")), l.slice(l.indexOf(":") + 1).trim()]));
            rest = rest.slice(end + 2);
            this.on.get(field.event ?? "message")?.(new MessageEvent("devices", { data: field.data ?? "" }));
          }
        }
        throw new Error("ended");
      } catch {
        if (this.stop.signal.aborted) return;
        this.onerror?.();
        await new Promise((ok) => setTimeout(ok, 20));
      }
    }
  }
}

let server: Server;
let url = "";
let open = new Set<ServerResponse>();
let asked = 0;
let channel = 0;
let tabs: { stream: DeviceStream; seen: Map<string, DeviceState>; batches: DeviceState[][]; states: StreamState[] }[] = [];

beforeEach(async () => {
  open = new Set();
  asked = 0;
  tabs = [];
  channel++;
  server = createServer((q, r) => {
    asked++;
    r.writeHead(200, { "Content-Type": "text/event-stream" }).write(": hello\n\n");
    open.add(r);
    q.on("close", () => open.delete(r));
  });
  await new Promise<void>((ok) => server.listen(0, "127.0.0.1", ok));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  for (const t of tabs) t.stream.close();
  server.closeAllConnections();
  await new Promise((ok) => server.close(ok));
});

const tab = (window = 30) => {
  const seen = new Map<string, DeviceState>();
  const batches: DeviceState[][] = [];
  const states: StreamState[] = [];
  const stream = new DeviceStream((s) => {
    batches.push(s);
    for (const x of s) seen.set(x.id, x);
  }, (s) => states.push(s), () => new Source(url), `test-${process.pid}-${channel}`, window);
  const t = { stream, seen, batches, states };
  tabs.push(t);
  return t;
};
const send = (...s: DeviceState[]) => open.forEach((r) => r.write(`event: devices\ndata: ${JSON.stringify(s)}\n\n`));
const state = (i: number, battery: number): DeviceState => ({ id: `d${i}`, connected: true, battery });
const until = (f: () => void) => vi.waitFor(f, { timeout: 20_000, interval: 10 });
const live = (n = 1) => until(() => expect(open.size).toBe(n));

it("1,600 devices in many events arrive as few changes, the latest word of each", { timeout: 30_000 }, async () => {
  const a = tab(1000);
  await live();
  for (let round = 1; round <= 3; round++) {
    for (let i = 0; i < 1600; i += 100) send(...Array.from({ length: 100 }, (_, k) => state(i + k, round)));
  }
  send(state(0, 99));
  await until(() => expect(a.seen.get("d0")?.battery).toBe(99));
  expect(a.seen.size).toBe(1600);
  expect([...a.seen.values()].filter((s) => s.id !== "d0" && s.battery !== 3)).toEqual([]);
  expect(a.batches.length).toBeLessThan(49); // fewer changes of the page than events
  for (const b of a.batches) expect(new Set(b.map((s) => s.id)).size).toBe(b.length);
});

it("says that it is lost, connects again and goes on", { timeout: 30_000 }, async () => {
  const a = tab();
  await live();
  await until(() => expect(a.states).toEqual(["live"]));
  for (const r of open) r.destroy();
  await until(() => expect(a.states).toEqual(["live", "lost", "live"]));
  await live();
  send(state(1, 7));
  await until(() => expect(a.seen.get("d1")?.battery).toBe(7));
  expect(asked).toBe(2);
});

it("several tabs share one stream, and another takes over when the first is closed", { timeout: 60_000 }, async () => {
  const a = tab();
  await live();
  const b = tab();
  const c = tab();
  await until(() => expect([b.states.at(-1), c.states.at(-1)]).toEqual(["live", "live"]));
  send(state(1, 1));
  await until(() => expect([a, b, c].map((t) => t.seen.get("d1")?.battery)).toEqual([1, 1, 1]));
  expect(asked).toBe(1);

  a.stream.close();
  await until(() => expect(asked).toBeGreaterThan(1));
  await live();
  await until(() => {
    send(state(1, 2));
    expect([b, c].map((t) => t.seen.get("d1")?.battery)).toEqual([2, 2]);
  });
  expect(a.seen.get("d1")?.battery).toBe(1); // a closed one hears nothing more
});
