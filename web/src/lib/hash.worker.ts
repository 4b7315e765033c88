// Hashes away from the page.
import { hash, type HashJob, type HashNews } from "./hash";

const say = (n: HashNews) => self.postMessage(n);

self.onmessage = (e: MessageEvent<HashJob>) => {
  hash(e.data, say).catch((err: unknown) => say({ kind: "error", message: err instanceof Error ? err.message : String(err) }));
};
