// The one way to the server: typed from api/openapi.yaml, every failure a Problem.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];
export type Evidence = Schemas["Evidence"];
export type CustodyEvent = Schemas["CustodyEvent"];
export type Case = Schemas["Case"];
export type Exhibit = Schemas["Exhibit"];
export type Device = Schemas["Device"];
export type DeviceState = Schemas["DeviceState"];
export type BudgetYear = Schemas["BudgetYear"];
export type Posting = Schemas["Posting"];
export type Session = Schemas["Session"];
export type Township = Schemas["Township"];

/** A refusal or failure as the server words it (RFC 9457). */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail?: string,
    readonly rule?: string,
    readonly article?: string,
    readonly next?: string,
    readonly instance?: string,
  ) {
    super(detail ? `${title}: ${detail}` : title);
  }
}

function str(o: Record<string, unknown>, k: string): string | undefined {
  const v = o[k];
  return typeof v === "string" && v !== "" ? v : undefined;
}

/** toProblem words any failed answer; an answer that isn't problem+json (a proxy's page) keeps its status. */
export function toProblem(status: number, body: unknown): Problem {
  if (typeof body === "object" && body !== null) {
    const o = body as Record<string, unknown>;
    return new Problem(status, str(o, "title") ?? `HTTP ${status}`, str(o, "detail"), str(o, "rule"), str(o, "article"), str(o, "next"), str(o, "instance"));
  }
  return new Problem(status, `HTTP ${status}`, typeof body === "string" && body ? body.slice(0, 300) : undefined);
}

export const client = createClient<paths>({
  baseUrl: typeof location === "undefined" ? "http://localhost" : location.origin,
  credentials: "same-origin",
});

type Answer<T> = { data?: T; error?: unknown; response: Response };

let onSignedOut: () => void = () => {};
/** whenSignedOut registers what happens when the server no longer knows the session. */
export function whenSignedOut(f: () => void) {
  onSignedOut = f;
}

/** unwrap gives the data or throws a Problem; a lost connection is one too. */
export async function unwrap<T>(p: Promise<Answer<T>>): Promise<T> {
  let a: Answer<T>;
  try {
    a = await p;
  } catch (e) {
    if (e instanceof DOMException && e.name === "AbortError") throw e;
    throw new Problem(0, "连不上服务器", "请检查网络或服务器是否在运行。", undefined, undefined, "稍后重试");
  }
  if (!a.response.ok) {
    if (a.response.status === 401) onSignedOut();
    throw toProblem(a.response.status, a.error);
  }
  return a.data as T;
}
