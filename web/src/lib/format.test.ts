import { describe, expect, it } from "vitest";
import { ago, bytes, clock, dateTime, duration, groups, parseYuan, shortTime, today, wan, yuan } from "./format";

describe("money is fen", () => {
  it("shows 元 and 万元 with two decimals", () => {
    expect(yuan(180000)).toBe("1,800.00");
    expect(yuan(-5)).toBe("-0.05");
    expect(yuan(7_000_000_000_01)).toBe("7,000,000,000.01");
    expect(wan(3_600_025)).toBe("3.60");
    expect(wan(0)).toBe("0.00");
  });
  it("reads what people type, exactly", () => {
    const typed: [string, number][] = [["1200", 120000], ["1200.5", 120050], ["0.07", 7], [" 1,234,567.89 ", 123456789], ["１，２００．５０", 120050], ["-3.10", -310], ["4503599627.37", 450359962737]];
    for (const [s, fen] of typed) expect(parseYuan(s), s).toBe(fen);
  });
  it("refuses what isn't an amount", () => {
    for (const s of ["", ".", "1.234", "1,5", "12,34", "1e3", "十元", "1.2.3", "99999999999", "--1"]) expect(parseYuan(s), s).toBeUndefined();
  });
  it("gives back every amount it shows", () => {
    for (let fen = -20_000; fen <= 20_000; fen += 7) expect(parseYuan(yuan(fen))).toBe(fen);
  });
});

describe("times are Beijing's, wherever the browser is", () => {
  it("crosses midnight and the year's end", () => {
    expect(dateTime("2026-12-31T16:00:00Z")).toBe("2027-01-01 00:00:00");
    expect(dateTime("2026-11-24T02:03:04.999Z")).toBe("2026-11-24 10:03:04");
    expect(today(new Date("2026-12-31T15:59:59Z"))).toBe("2026-12-31");
    expect(today(new Date("2026-12-31T16:00:00Z"))).toBe("2027-01-01");
  });
  it("names the year only when it isn't this one", () => {
    const now = new Date("2026-12-31T16:00:00Z"); // already 2027 in Beijing
    expect(shortTime("2027-03-01T00:00:00Z", now)).toBe("03-01 08:00");
    expect(shortTime("2026-03-01T00:00:00Z", now)).toBe("2026-03-01 08:00");
  });
  it("says nothing of a time it can't read", () => {
    expect([dateTime(undefined), dateTime("soon"), shortTime(""), ago("soon", 0)]).toEqual(["—", "—", "—", "—"]);
  });
  it("tells distances in both languages, never from the future", () => {
    const now = Date.parse("2026-11-24T00:00:00Z");
    expect(ago("2026-11-23T23:59:01Z", now)).toBe("59 秒前");
    expect(ago("2026-11-23T23:00:01Z", now)).toBe("59 分钟前");
    expect(ago("2026-11-22T00:00:00Z", now, true)).toBe("2 d ago");
    expect(ago("2026-11-24T00:00:30Z", now)).toBe("0 秒前");
  });
});

describe("lengths, sizes, digests", () => {
  it("writes a length to the second and a position to the millisecond", () => {
    expect(duration(1_878_000)).toBe("00:31:18");
    expect(duration(undefined)).toBe("—");
    expect(clock(367.24)).toBe("00:06:07.240");
    expect(clock(3599.9999)).toBe("00:59:59.999"); // never a second that hasn't begun
    expect(clock(-1)).toBe("00:00:00.000");
  });
  it("changes the unit before a figure needs four digits too many", () => {
    expect([0, 1023, 1024, 1_048_575, 1 << 20, 10 * (1 << 20), 5 * 2 ** 40].map(bytes)).toEqual(["0 B", "1023 B", "1.0 KB", "1.0 MB", "1.0 MB", "10 MB", "5.0 TB"]);
  });
  it("groups a digest without losing a digit", () => {
    const hex = "0123456789abcdef".repeat(4);
    expect(groups(hex).split(" ")).toHaveLength(8);
    expect(groups(hex).replaceAll(" ", "")).toBe(hex);
  });
});
