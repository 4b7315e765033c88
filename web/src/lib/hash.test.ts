import { createHash, randomBytes } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hash, type HashNews } from "./hash";

const big = new Uint8Array(randomBytes((9 << 20) + 13));
const sha = (b: Uint8Array) => createHash("sha256").update(b).digest("hex");
const run = async (job: Parameters<typeof hash>[0]) => {
  const news: HashNews[] = [];
  await hash(job, (n) => news.push(n));
  return news;
};

describe("a file of one's own", () => {
  it.each([0, 1, 63, 64, 65, 65_536, (4 << 20) - 1, 4 << 20, big.length])("%i bytes have the digest that node computes", async (n) => {
    const part = big.subarray(0, n);
    expect((await run({ file: new Blob([part]) })).pop()).toEqual({ kind: "done", sha256: sha(part), size: n });
  });
  it("one flipped bit is another digest", async () => {
    const other = big.slice();
    other[big.length - 1]! ^= 1;
    const done = (await run({ file: new Blob([other]) })).pop();
    expect(done?.kind === "done" && done.sha256).not.toBe(sha(big));
  });
  it("tells how far it is", async () => {
    const far = (await run({ file: new Blob([big]) })).filter((n) => n.kind === "progress");
    expect(far.length).toBeGreaterThan(0);
    expect(far.every((n) => n.total === big.length && n.done <= big.length)).toBe(true);
  });
});

describe("the server's bytes", () => {
  let server: Server;
  let base = "";
  beforeAll(async () => {
    server = createServer((q, r) => {
      if (q.url === "/content") return void r.writeHead(200, { "Content-Length": big.length }).end(big);
      if (q.url === "/refused") return void r.writeHead(403, { "Content-Type": "application/problem+json" }).end(JSON.stringify({ title: "没有这项权限", status: 403 }));
      if (q.url === "/proxy") return void r.writeHead(502, { "Content-Type": "text/html" }).end("<h1>bad gateway</h1>");
      r.writeHead(200, { "Content-Length": big.length });
      r.write(big.subarray(0, 1 << 20), () => r.destroy()); // /cut: the line breaks in the middle
    });
    await new Promise<void>((ok) => server.listen(0, "127.0.0.1", ok));
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => new Promise((ok) => { server.closeAllConnections(); server.close(ok); }));

  it("have the digest that node computes", async () => {
    expect((await run({ url: `${base}/content` })).pop()).toEqual({ kind: "done", sha256: sha(big), size: big.length });
  });
  it("a refusal keeps its words", async () => {
    expect(await run({ url: `${base}/refused` })).toEqual([{ kind: "error", status: 403, body: { title: "没有这项权限", status: 403 }, message: "HTTP 403" }]);
  });
  it("an answer that isn't the server's own keeps its status", async () => {
    expect(await run({ url: `${base}/proxy` })).toMatchObject([{ kind: "error", status: 502, body: "<h1>bad gateway</h1>" }]);
  });
  it("half a file never has a digest", async () => {
    const news: HashNews[] = [];
    await expect(hash({ url: `${base}/cut` }, (n) => news.push(n))).rejects.toThrow();
    expect(news.some((n) => n.kind === "done")).toBe(false);
  });
});
