// Gaps as rows of the evidence list.
import type { Evidence, Schemas } from "../api/client";

export type GapRow = { id: string; gap: Schemas["ChainGap"] };

export const isGap = (r: Evidence | GapRow): r is GapRow => "gap" in r;

/** Puts each gap that is still missing before the newer or, where that isn't in the list, after the older of its neighbours. */
export function withGaps(rows: Evidence[], gaps: Schemas["ChainGap"][]): (Evidence | GapRow)[] {
  const out: (Evidence | GapRow)[] = [];
  const above = new Map<string, GapRow[]>();
  const below = new Map<string, GapRow[]>();
  const here = new Map(rows.map((r, i) => [r.id, i]));
  for (const gap of gaps) {
    if (gap.state === "closed") continue;
    const row = { id: `gap/${gap.key_id}/${gap.epoch}/${gap.first}`, gap };
    const before = gap.before?.evidence_id;
    const after = gap.after?.evidence_id;
    // Newest first: the gap stands above the clip before it.
    if (before && here.has(before)) above.set(before, [...(above.get(before) ?? []), row]);
    else if (after && here.has(after)) below.set(after, [...(below.get(after) ?? []), row]);
  }
  for (const r of rows) out.push(...(above.get(r.id) ?? []), r, ...(below.get(r.id) ?? []));
  return out;
}
