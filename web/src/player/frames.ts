// When each picture is shown: by the server's table where there is one, else evenly at the mean rate.
import type { Schemas } from "../api/client";

export type FrameClock = {
  /** The picture on the screen at a time. */
  at: (t: number) => number;
  /** A picture's middle, so that rounding never shows its neighbour. */
  middle: (n: number) => number;
  /** The keyframe at or before a time, and the next one after it; undefined where none is known. */
  keyBefore: (t: number) => number | undefined;
  keyAfter: (t: number) => number | undefined;
};

/** A frame's middle at a constant rate. */
export function frameTime(n: number, fps: number): number {
  return (n + 0.5) / fps;
}
export function frameAt(t: number, fps: number): number {
  return Math.max(0, Math.floor(t * fps + 1e-6));
}

/** The last index whose value is not above x, -1 for none. */
function floorIndex(sorted: readonly number[], x: number): number {
  let lo = 0;
  let hi = sorted.length;
  while (lo < hi) {
    const m = (lo + hi) >> 1;
    if ((sorted[m] ?? Infinity) <= x) lo = m + 1;
    else hi = m;
  }
  return lo - 1;
}

export function frameClock(f: Schemas["Frames"] | undefined, fps: number): FrameClock {
  const keys = (f?.keyframes ?? []).map((ms) => ms / 1000);
  const keyBefore = (t: number) => keys[floorIndex(keys, t + 5e-4)];
  const keyAfter = (t: number) => keys[floorIndex(keys, t + 5e-4) + 1];
  const runs = f?.runs;
  if (!runs?.length) return { at: (t) => frameAt(t, fps), middle: (n) => frameTime(n, fps), keyBefore, keyAfter };
  const starts = runs.map((r) => (r[0] ?? 0) / 1e6);
  const firsts: number[] = [];
  let count = 0;
  for (const r of runs) {
    firsts.push(count);
    count += r[2] ?? 1;
  }
  const start = (n: number) => {
    const i = Math.max(0, floorIndex(firsts, n));
    const [from = 0, span = 0, many = 1] = runs[i] ?? [];
    return (from + (many > 1 ? (span * (n - (firsts[i] ?? 0))) / (many - 1) : 0)) / 1e6;
  };
  const at = (t: number) => {
    const i = Math.max(0, floorIndex(starts, t + 1e-6));
    const [from = 0, span = 0, many = 1] = runs[i] ?? [];
    const within = span > 0 ? Math.floor(((t * 1e6 - from) / span) * (many - 1) + 1e-3) : 0;
    return (firsts[i] ?? 0) + Math.max(0, Math.min(many - 1, within));
  };
  const middle = (n: number) => {
    const last = count - 1;
    const k = Math.max(0, Math.min(last, n));
    return k < last ? (start(k) + start(k + 1)) / 2 : start(k) + 0.5 / fps;
  };
  return { at, middle, keyBefore, keyAfter };
}
