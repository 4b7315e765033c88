// One event stream a browser, however many tabs: the tab that holds it hands on what it hears over a BroadcastChannel. When the
// holder falls silent another tab takes over. (Web Locks would do this, but don't exist on plain HTTP.)
import type { DeviceState } from "../api/client";

export type StreamState = "connecting" | "live" | "lost";
type Word = { kind: "who" | "alive" | "bye"; id: string; state?: StreamState } | { kind: "devices"; id: string; states: DeviceState[] };
type Source = { onopen: ((this: EventSource, e: Event) => void) | null; onerror: ((this: EventSource, e: Event) => void) | null; addEventListener(k: string, f: (e: MessageEvent<string>) => void): void; close(): void };

const beat = 2000;

export class DeviceStream {
  private readonly channel: BroadcastChannel;
  private readonly id = Math.random().toString(36).slice(2);
  private source: Source | undefined;
  private heard = 0;
  private timer: ReturnType<typeof setInterval>;
  private first: ReturnType<typeof setTimeout>;
  private batch = new Map<string, DeviceState>();
  private flushing: ReturnType<typeof setTimeout> | undefined;
  private state: StreamState = "connecting";

  constructor(
    private readonly onStates: (s: DeviceState[]) => void,
    private readonly onState: (s: StreamState) => void,
    private readonly open: () => Source = () => new EventSource("/api/v1/devices/events"),
    name = "zz-devices",
    private readonly window = 250, // one change of the table for all that arrives in this time
  ) {
    this.channel = new BroadcastChannel(name);
    this.channel.onmessage = (e: MessageEvent<Word>) => this.hear(e.data);
    this.say({ kind: "who", id: this.id });
    this.first = setTimeout(() => this.lead(), 150 + Math.random() * 150);
    this.timer = setInterval(() => {
      if (this.source) this.say({ kind: "alive", id: this.id, state: this.state });
      else if (this.heard && Date.now() - this.heard > 2.5 * beat) this.lead();
    }, beat);
  }

  private say(w: Word) {
    this.channel.postMessage(w);
  }

  private hear(w: Word) {
    if (w.id === this.id) return;
    if (w.kind === "who") {
      if (this.source) this.say({ kind: "alive", id: this.id, state: this.state });
      return;
    }
    if (w.kind === "bye") {
      clearTimeout(this.first);
      this.first = setTimeout(() => this.lead(), Math.random() * 300);
      return;
    }
    if (this.source) {
      // two lead after a race: the lower name keeps the stream
      if (w.kind === "alive" && w.id < this.id) this.follow();
      else return;
    }
    this.heard = Date.now();
    clearTimeout(this.first);
    if (w.kind === "devices") this.take(w.states);
    else this.tell(w.state ?? "live");
  }

  private lead() {
    if (this.source) return;
    const s = this.open();
    this.source = s;
    s.onopen = () => this.tell("live");
    s.onerror = () => this.tell("lost"); // the browser connects again by itself
    s.addEventListener("devices", (e) => {
      const states = JSON.parse(e.data) as DeviceState[];
      this.say({ kind: "devices", id: this.id, states });
      this.take(states);
    });
    this.say({ kind: "alive", id: this.id, state: this.state });
  }

  private follow() {
    this.source?.close();
    this.source = undefined;
  }

  private tell(s: StreamState) {
    if (s === this.state) return;
    this.state = s;
    this.onState(s);
  }

  private take(states: DeviceState[]) {
    for (const s of states) this.batch.set(s.id, s);
    this.flushing ??= setTimeout(() => {
      this.flushing = undefined;
      const all = [...this.batch.values()];
      this.batch.clear();
      this.onStates(all);
    }, this.window);
  }

  close() {
    clearInterval(this.timer);
    clearTimeout(this.first);
    clearTimeout(this.flushing);
    if (this.source) {
      this.follow();
      this.say({ kind: "bye", id: this.id });
    }
    this.channel.close();
  }
}
