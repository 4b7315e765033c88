import { describe, expect, it } from "vitest";
import { drawTrack, fixAt } from "./track";

const at = (at_ms: number, lat: number, lon: number) => ({ at_ms, lat, lon });

describe("a track", () => {
  it("keeps its shape, north is up, and it fits", () => {
    const d = drawTrack([at(0, 32, 106), at(1, 32.01, 106), at(2, 32.01, 106.01)], 400, 200, 10);
    const [a, b, c] = d.points;
    expect(b?.[1]).toBeLessThan(a?.[1] ?? 0);
    expect(c?.[0]).toBeGreaterThan(b?.[0] ?? 0);
    expect(((c?.[0] ?? 0) - (b?.[0] ?? 0)) / ((a?.[1] ?? 0) - (b?.[1] ?? 0))).toBeCloseTo(0.853, 2); // cos 32°
    for (const [x, y] of d.points) expect(x >= 9.9 && x <= 390.1 && y >= 9.9 && y <= 190.1).toBe(true);
  });
  it("of one place is a point in the middle, and the date line is no gap", () => {
    expect(drawTrack([at(0, 1, 2), at(1, 1, 2)], 100, 50, 5).points).toEqual([[50, 25], [50, 25]]);
    expect(drawTrack([at(0, 0, 179.999), at(1, 0, -179.999)], 100, 50, 5).metres).toBeLessThan(300);
  });
  it("knows which fix holds", () => {
    const p = [at(1000, 0, 0), at(2000, 0, 0), at(5000, 0, 0)];
    expect([fixAt(p, 0), fixAt(p, 1.5), fixAt(p, 2), fixAt(p, 99)]).toEqual([0, 0, 1, 2]);
  });
});
