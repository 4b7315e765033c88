// What pages compute before they show anything.
import { describe, expect, it } from "vitest";
import type { Device, DeviceState } from "../api/client";
import { ticks } from "../player/Timeline";
import { terms } from "./budget-town";
import { matches, merge } from "./devices";
import { toQuery } from "./evidence";
import { signed } from "./posting-new";
import { safeTarget } from "./signin";

const device = (i: number, more: Partial<Device> = {}): Device => ({
  id: `d${i}`, serial: `SL-${i}`, kind: "recorder", kind_name: "执法记录仪", name: `${i} 号`, township: "510821100", township_name: "东河镇", model: "DSJ-2",
  funding: "posting", state: { id: `d${i}`, connected: true }, ...more,
});

describe("live devices", () => {
  const list = Array.from({ length: 1600 }, (_, i) => device(i));
  it("only rows that changed are new objects", () => {
    const change: DeviceState[] = [{ id: "d7", connected: false }, { id: "unknown", connected: true }];
    const out = merge(list, change);
    expect(out.filter((d, i) => d !== list[i]).map((d) => d.id)).toEqual(["d7"]);
    expect(out[7]?.state.connected).toBe(false);
    expect(list[7]?.state.connected).toBe(true);
  });
  it("news of nobody in the list changes nothing", () => expect(merge(list, [{ id: "x", connected: true }])).toBe(list));
  it("filters are combined; text finds serial, name, model and holder in any case", () => {
    const d = device(1, { officer_name: "陈立新", township: "T1" });
    expect([{ q: "sl-1" }, { q: "dsj" }, { q: "陈立" }, { kind: "recorder" }, { township: "T1", connected: true, q: "1 号" }, {}].map((s) => matches(d, s as never))).toEqual(Array(6).fill(true));
    expect([{ q: "SL-2" }, { kind: "dock" }, { township: "T2", q: "sl-1" }, { connected: false }].map((s) => matches(d, s as never))).toEqual(Array(4).fill(false));
  });
});

describe("addresses", () => {
  it("a day in the filter is a day in Beijing, both ends in", () => {
    expect(toQuery({ from: "2026-11-24", to: "2026-11-24" })).toMatchObject({ from: "2026-11-23T16:00:00.000Z", to: "2026-11-24T16:00:00.000Z" });
    expect(toQuery({ from: "2026-02-31x", to: "soon" })).toMatchObject({ from: undefined, to: undefined });
  });
  it("after signing in nobody is sent to another site", () => {
    expect(safeTarget("/evidence?q=a#b")).toBe("/evidence?q=a#b");
    for (const to of [undefined, "", "https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "evidence", "/sign-in?to=/"]) expect(safeTarget(to), to).toBe("/");
  });
});

describe("budget", () => {
  const kind = (code: string) => ({ budget: "budget", "asset.recorder": "asset", "expense.repair": "expense", "source.county": "source" })[code];
  it("the kind of account says the side, whatever sign is typed", () => {
    expect(signed([{ account: "asset.recorder", amount: "1200.50" }, { account: "budget", amount: "1,200.50" }], kind)).toEqual([{ account: "asset.recorder", fen: 120050 }, { account: "budget", fen: -120050 }]);
    expect(signed([{ account: "source.county", amount: "-5" }, { account: "expense.repair", amount: "-5" }], kind)).toEqual([{ account: "source.county", fen: -500 }, { account: "expense.repair", fen: 500 }]);
  });
  it("a line that isn't finished isn't sent", () => expect(signed([undefined, {}, { account: "budget" }, { amount: "5" }, { account: "budget", amount: "x" }], kind)).toEqual([]));
  it("the formula is a sum, term by term", () => {
    expect(terms("基数 20000.00 元 + 人口 10 × 0.25 元 = 2.50 元 = 20002.50 元")).toEqual({ sum: ["基数 20000.00 元", "人口 10 × 0.25 元 = 2.50 元"], total: "20002.50 元" });
    expect(terms("另行核定")).toEqual({ sum: ["另行核定"], total: undefined });
  });
});

describe("timeline", () => {
  it("has few, even, readable ticks within the file", () => {
    for (const length of [0.4, 24, 61, 600, 1878, 36_000, 200_000]) {
      const t = ticks(length, 10);
      expect(t.length, String(length)).toBeLessThanOrEqual(11);
      expect(t[0]).toBe(0);
      expect(t.every((s) => s < length)).toBe(true);
    }
    expect(ticks(24, 10)).toEqual([0, 5, 10, 15, 20]);
    expect([ticks(0, 10), ticks(NaN, 10), ticks(-1, 10)]).toEqual([[], [], []]);
  });
});
