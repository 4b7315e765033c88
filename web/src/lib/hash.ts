// SHA-256 of a file or of the server's bytes, piece by piece, so that size doesn't matter.
import { createSHA256 } from "hash-wasm";

export type HashJob = { url: string } | { file: Blob };
export type HashNews = { kind: "progress"; done: number; total: number } | { kind: "done"; sha256: string; size: number } | { kind: "error"; status?: number; body?: unknown; message: string };

export async function hash(job: HashJob, say: (n: HashNews) => void): Promise<void> {
  const h = await createSHA256();
  let total: number;
  let stream: ReadableStream<Uint8Array>;
  if ("file" in job) {
    total = job.file.size;
    stream = job.file.stream();
  } else {
    const r = await fetch(job.url, { credentials: "same-origin", cache: "no-store" });
    if (!r.ok || !r.body) {
      const text = await r.text();
      let body: unknown = text;
      try {
        body = JSON.parse(text);
      } catch {
        // not problem+json: the text itself is shown
      }
      say({ kind: "error", status: r.status, body, message: `HTTP ${r.status}` });
      return;
    }
    total = Number(r.headers.get("Content-Length") ?? 0);
    stream = r.body;
  }
  const reader = stream.getReader();
  let done = 0;
  let told = 0;
  for (;;) {
    const { value, done: end } = await reader.read();
    if (end) break;
    h.update(value);
    done += value.byteLength;
    if (done - told >= 4 << 20) {
      told = done;
      say({ kind: "progress", done, total });
    }
  }
  say({ kind: "done", sha256: h.digest("hex"), size: done });
}
