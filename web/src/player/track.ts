// Positions as a line on a page: no map, no tiles, nothing that leaves the building.
import type { Schemas } from "../api/client";

export type TrackPoint = Schemas["Track"]["points"][number];
export type Drawn = { points: [number, number][]; path: string; width: number; height: number; metres: number };

/** Equirectangular at the track's own latitude, north up, fitted into a box with a margin. One place is drawn as one point. */
export function drawTrack(points: TrackPoint[], width: number, height: number, margin: number): Drawn {
  const lat0 = points[0]?.lat ?? 0;
  const lon0 = points[0]?.lon ?? 0;
  const k = Math.cos((lat0 * Math.PI) / 180);
  const east = (p: TrackPoint) => ((((p.lon - lon0 + 540) % 360) - 180) * 111_320) * k; // over the date line too
  const xs = points.map(east);
  const ys = points.map((p) => -(p.lat - lat0) * 110_574);
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const metres = Math.max(x1 - x0, y1 - y0);
  const scale = metres > 0 ? Math.min((width - 2 * margin) / Math.max(x1 - x0, 1e-9), (height - 2 * margin) / Math.max(y1 - y0, 1e-9)) : 0;
  const out = xs.map((x, i): [number, number] => [width / 2 + (x - (x0 + x1) / 2) * scale, height / 2 + ((ys[i] ?? 0) - (y0 + y1) / 2) * scale]);
  return { points: out, path: out.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" "), width, height, metres };
}

/** The fix that holds at a time: the last one not after it, the first one before all. */
export function fixAt(points: TrackPoint[], seconds: number): number {
  let lo = 0;
  let hi = points.length;
  while (lo < hi) {
    const m = (lo + hi) >> 1;
    if ((points[m]?.at_ms ?? Infinity) <= seconds * 1000) lo = m + 1;
    else hi = m;
  }
  return Math.max(0, lo - 1);
}
