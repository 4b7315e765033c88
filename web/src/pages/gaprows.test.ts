import { expect, test } from "vitest";
import type { Evidence, Schemas } from "../api/client";
import { isGap, withGaps } from "./gaprows";

const clip = (id: string) => ({ id }) as Evidence;
const gap = (first: number, before?: string, after?: string, state: Schemas["ChainGap"]["state"] = "open") =>
  ({ key_id: "k", epoch: 1, first, last: first + 2, missing: 3, state, opened_at: "", before: before && { counter: first - 1, evidence_id: before, received_at: "" }, after: after && { counter: first + 3, evidence_id: after, received_at: "" } }) as Schemas["ChainGap"];
const order = (rows: ReturnType<typeof withGaps>) => rows.map((r) => (isGap(r) ? `gap ${r.gap.first}` : r.id));

test("a gap stands between its neighbours", () => {
  const rows = [clip("e44"), clip("e40"), clip("e39")];
  expect(order(withGaps(rows, [gap(41, "e40", "e44")]))).toEqual(["e44", "gap 41", "e40", "e39"]);
});

test("with one neighbour out of the list it stands beside the other", () => {
  expect(order(withGaps([clip("e44")], [gap(41, "e40", "e44")]))).toEqual(["e44", "gap 41"]);
  expect(order(withGaps([clip("e40")], [gap(41, "e40", "e44")]))).toEqual(["gap 41", "e40"]);
  expect(order(withGaps([clip("e40")], [gap(41, "e40")]))).toEqual(["gap 41", "e40"]);
});

test("closed gaps, and gaps of what isn't listed, are no rows", () => {
  expect(order(withGaps([clip("e44"), clip("e40")], [gap(41, "e40", "e44", "closed"), gap(1, undefined, "e4")]))).toEqual(["e44", "e40"]);
  expect(order(withGaps([], [gap(41, "e40", "e44")]))).toEqual([]);
});
