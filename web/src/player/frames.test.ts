import { describe, expect, it } from "vitest";
import { frameClock } from "./frames";

describe("pictures' times", () => {
  it("without a table they are even", () => {
    const c = frameClock(undefined, 25);
    expect([c.at(0), c.at(0.0399), c.at(0.04), c.middle(10), c.keyBefore(3)]).toEqual([0, 0, 1, 0.42, undefined]);
  });
  it("with one, each is found at its own middle, through every change of rate", () => {
    const c = frameClock({ count: 9, runs: [[0, 120_000, 4], [200_000, 0, 1], [900_000, 300_000, 4]], keyframes: [0, 200, 900] }, 25);
    for (let n = 0; n < 9; n++) expect(c.at(c.middle(n)), String(n)).toBe(n);
    expect([c.at(0.12), c.at(0.199), c.at(0.2), c.at(0.899), c.at(0.9), c.at(5)]).toEqual([3, 3, 4, 4, 5, 8]);
  });
  it("a rate that isn't a round number doesn't drift", () => {
    const n = 1_296_000;
    const c = frameClock({ count: n, runs: [[0, Math.round(((n - 1) * 1001 * 1e6) / 30_000), n]] }, 29.97);
    for (const k of [0, 1, 999, 500_000, n - 1]) expect(c.at(c.middle(k))).toBe(k);
  });
  it("keyframes before and after a time", () => {
    const c = frameClock({ count: 3, keyframes: [0, 2000, 4000] }, 25);
    expect([c.keyBefore(1.9), c.keyBefore(2), c.keyAfter(2), c.keyAfter(4)]).toEqual([0, 2, 4, undefined]);
  });
});
