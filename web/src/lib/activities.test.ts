import { describe, expect, it } from "vitest";
import { hours, shiftDay, stateOf } from "./activities";

const t = (s: string) => Date.parse(`${s}+08:00`);

describe("activities", () => {
  it("have hours in Beijing; those through the night end on the next day", () => {
    expect(hours({ day: "2026-11-26", from: "09:00", to: "11:30" })).toEqual({ starts: t("2026-11-26T09:00"), ends: t("2026-11-26T11:30") });
    expect(hours({ day: "2026-11-26", from: "22:00", to: "02:00" })).toEqual({ starts: t("2026-11-26T22:00"), ends: t("2026-11-27T02:00") });
    expect(hours({ day: "2026-11-26" })).toEqual({ starts: t("2026-11-26T00:00"), ends: t("2026-11-27T00:00") });
  });
  it("are ahead, under way, over, or cancelled whenever that was", () => {
    const a = { day: "2026-11-26", from: "09:00", to: "11:30" };
    expect(["2026-11-26T08:59", "2026-11-26T09:00", "2026-11-26T11:30"].map((s) => stateOf(a, t(s)))).toEqual(["ahead", "now", "over"]);
    expect(stateOf({ ...a, cancelled_at: "2026-11-25T00:00:00Z" }, t("2026-11-26T10:00"))).toBe("cancelled");
  });
  it("lie on days that follow one another over months and years", () => {
    expect([shiftDay("2026-11-30", 1), shiftDay("2027-01-01", -1), shiftDay("2028-02-28", 1)]).toEqual(["2026-12-01", "2026-12-31", "2028-02-29"]);
  });
});
