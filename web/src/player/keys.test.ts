import { describe, expect, it } from "vitest";
import { frameAt, frameTime } from "./frames";
import { actOf, nextRate, parseMarks, playerKeys, writeMarks } from "./keys";

const key = (k: string, shiftKey = false) => actOf({ key: k, shiftKey });

describe("keys", () => {
  it("every key does what the help says, and no two acts share one", () => {
    const seen = new Map<string, string>();
    for (const k of playerKeys) {
      for (const one of k.keys) {
        expect(key(one, k.shift), one).toBe(k.act);
        const name = `${k.shift ? "Shift+" : ""}${one}`;
        expect(seen.get(name), name).toBeUndefined();
        seen.set(name, k.act);
      }
    }
    expect(new Set(playerKeys.map((k) => k.act)).size).toBe(playerKeys.length);
  });
  it("Shift changes the arrows and nothing else", () => {
    expect([key("ArrowLeft"), key("ArrowLeft", true)]).toEqual(["back1", "back10"]);
    expect([key("J", true), key("j"), key("?", true)]).toEqual(["slower", "slower", "help"]);
  });
  it("a Chinese layout's punctuation works too", () => {
    expect([key("，"), key("。"), key("【"), key("】"), key("？", true)]).toEqual(["frameBack", "frameOn", "prevMark", "nextMark", "help"]);
  });
  it("other keys are the browser's", () => {
    expect([key("Tab"), key("F5"), key("q"), key("ArrowUp"), key("/")]).toEqual([undefined, undefined, undefined, undefined, undefined]);
  });
});

describe("frames", () => {
  it("a frame's time shows that frame, at every usual rate", () => {
    for (const fps of [10, 15, 23.976, 25, 29.97, 30, 50, 59.94, 60]) {
      for (const n of [0, 1, 2, 24, 25, 1799, 107_892]) {
        // a container's clock is coarse: a third of a frame off still shows it
        for (const off of [-0.3, 0, 0.3]) expect(frameAt(frameTime(n, fps) + off / fps, fps), `${n} at ${fps}`).toBe(n);
      }
    }
  });
  it("a time on the edge belongs to the frame that begins there", () => {
    for (let n = 0; n < 3000; n++) expect(frameAt(n / 29.97, 29.97)).toBe(n);
  });
  it("before the start is the first frame", () => expect(frameAt(-1, 25)).toBe(0));
});

describe("speed", () => {
  it("goes up to the top and stays, goes down to the bottom and then backwards", () => {
    const up: number[] = [];
    for (let r = 0.25, i = 0; i < 8; i++) up.push((r = nextRate(r, true) ?? NaN));
    expect(up).toEqual([0.5, 1, 1.5, 2, 4, 8, 8, 8]);
    expect(nextRate(1, false)).toBe(0.5);
    expect(nextRate(0.25, false)).toBeUndefined();
  });
});

describe("markers in the address", () => {
  it("come back as they were written, in order, once each", () => {
    expect(parseMarks(writeMarks([12.3456, 1, 12.3456]))).toEqual([1, 12.346]);
    expect(writeMarks([])).toBeUndefined();
  });
  it("nonsense from a shared link is dropped", () => {
    expect(parseMarks("a_-1_0_Infinity_NaN__2.5")).toEqual([2.5]);
    expect(parseMarks(undefined)).toEqual([]);
    expect(parseMarks(Array.from({ length: 80 }, (_, i) => i + 1).join("_"))).toHaveLength(50);
  });
});
