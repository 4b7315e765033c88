import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { client, Problem, toProblem, unwrap, whenSignedOut } from "./client";

const refusal = { type: "about:blank", status: 422, title: "依规定不能办理", detail: "超过本年可用额度", rule: "R23", article: "预算法第13条", next: "调整金额", instance: "abc" };
const answers: Record<number, [string, string]> = {
  200: ["application/json", JSON.stringify({ items: [], next_cursor: "" })],
  401: ["application/problem+json", JSON.stringify({ title: "请先登录", status: 401 })],
  422: ["application/problem+json", JSON.stringify(refusal)],
  502: ["text/html", "<html>" + "x".repeat(1000)],
};
let server: Server;
let baseUrl = "";
let signedOut = 0;
beforeAll(async () => {
  server = createServer((q, r) => {
    const status = Number(new URL(q.url ?? "/", "http://x").searchParams.get("q"));
    const [type, body] = answers[status] ?? ["text/plain", ""];
    r.writeHead(status, { "Content-Type": type }).end(body);
  });
  await new Promise<void>((ok) => server.listen(0, "127.0.0.1", ok));
  baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  whenSignedOut(() => signedOut++);
});
afterAll(() => new Promise((ok) => { server.closeAllConnections(); server.close(ok); }));
beforeEach(() => { signedOut = 0; });

const ask = (status: number) => unwrap(client.GET("/api/v1/cases", { baseUrl, params: { query: { q: String(status) } } }));
const failure = async (status: number) => {
  const e: unknown = await ask(status).then(() => undefined, (x: unknown) => x);
  if (!(e instanceof Problem)) throw new Error(`no Problem: ${String(e)}`);
  return e;
};

it("an answer is its data", async () => {
  expect(await ask(200)).toEqual({ items: [], next_cursor: "" });
  expect(signedOut).toBe(0);
});

it("a refusal names rule, article and what can be done", async () => {
  const p = await failure(422);
  expect({ ...p }).toMatchObject({ status: 422, title: refusal.title, detail: refusal.detail, rule: "R23", article: refusal.article, next: refusal.next, instance: "abc" });
  expect(signedOut).toBe(0);
});

it("a lost session is told once and is a Problem too", async () => {
  expect((await failure(401)).title).toBe("请先登录");
  expect(signedOut).toBe(1);
});

it("a proxy's page keeps its status and isn't shown whole", async () => {
  const p = await failure(502);
  expect(p.title).toBe("HTTP 502");
  expect(p.detail?.length).toBe(300);
});

it("no connection is a Problem with a way on", async () => {
  const closed = createServer();
  await new Promise<void>((ok) => closed.listen(0, "127.0.0.1", ok));
  const { port } = closed.address() as AddressInfo;
  await new Promise((ok) => closed.close(ok));
  const e: unknown = await unwrap(client.GET("/api/v1/cases", { baseUrl: `http://127.0.0.1:${port}` })).catch((x: unknown) => x);
  expect(e).toBeInstanceOf(Problem);
  expect(e).toMatchObject({ status: 0, title: "连不上服务器", next: "稍后重试" });
});

it("a question that was given up stays given up", async () => {
  const c = new AbortController();
  c.abort();
  const e: unknown = await unwrap(client.GET("/api/v1/cases", { baseUrl, signal: c.signal })).catch((x: unknown) => x);
  expect(e).toBeInstanceOf(DOMException);
  expect((e as DOMException).name).toBe("AbortError");
});

it("members of the wrong type don't reach the page", () => {
  expect({ ...toProblem(400, { title: 7, detail: "", rule: null, next: { a: 1 } }) }).toMatchObject({ status: 400, title: "HTTP 400", detail: undefined, rule: undefined, next: undefined });
  expect(toProblem(502, "").detail).toBeUndefined(); // a proxy without a page
  expect(toProblem(500, undefined).title).toBe("HTTP 500");
});
