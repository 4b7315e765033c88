import { expect, it } from "vitest";
import { pages } from "./pages";

const list = (n: number, size: number) => {
  const asked: (string | undefined)[] = [];
  return {
    asked,
    get: async (cursor: string | undefined) => {
      asked.push(cursor);
      const from = Number(cursor ?? 0);
      const items = Array.from({ length: Math.min(size, n - from) }, (_, i) => from + i);
      return { items, next_cursor: from + size < n ? String(from + size) : "" };
    },
  };
};

it("reads every page once, in order", async () => {
  const l = list(450, 200);
  expect(await pages(l.get)).toEqual(Array.from({ length: 450 }, (_, i) => i));
  expect(l.asked).toEqual([undefined, "200", "400"]);
});

it("an empty list is one question", async () => {
  const l = list(0, 200);
  expect(await pages(l.get)).toEqual([]);
  expect(l.asked).toHaveLength(1);
});

it("fails rather than show a part as the whole", async () => {
  await expect(pages(list(6000, 200).get)).rejects.toThrow("5000");
});

it("a page that fails fails the list", async () => {
  await expect(pages(async (c) => {
    if (c) throw new Error("gone");
    return { items: [1], next_cursor: "x" };
  })).rejects.toThrow("gone");
});
