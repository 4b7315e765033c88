// Enforcement activities as pages show them.
import type { Schemas } from "../api/client";

export type Activity = Schemas["Activity"];
export type ActivityKind = Schemas["ActivityKind"];

export const activityWords: Record<ActivityKind, string> = { patrol: "巡查", inspection: "检查", persuasion: "劝导", service: "送达", investigation: "调查", publicity: "普法", other: "其他" };

export const isKind = (v: unknown): v is ActivityKind => typeof v === "string" && v in activityWords;

const minute = 60_000;
const at = (day: string, hour: string) => Date.parse(`${day}T${hour}:00+08:00`);

/** When it begins and ends; an activity without hours lasts its day, one that ends before it begins goes on through the night. */
export function hours(a: Pick<Activity, "day" | "from" | "to">): { starts: number; ends: number } {
  if (!a.from || !a.to) return { starts: at(a.day, "00:00"), ends: at(a.day, "00:00") + 24 * 60 * minute };
  const starts = at(a.day, a.from);
  const ends = at(a.day, a.to);
  return { starts, ends: ends > starts ? ends : ends + 24 * 60 * minute };
}

export type ActivityState = "cancelled" | "ahead" | "now" | "over";

export function stateOf(a: Pick<Activity, "day" | "from" | "to" | "cancelled_at">, now: number): ActivityState {
  if (a.cancelled_at) return "cancelled";
  const h = hours(a);
  return now < h.starts ? "ahead" : now < h.ends ? "now" : "over";
}

/** The day so many days later, of dates as addresses have them. */
export function shiftDay(day: string, days: number): string {
  return new Date(Date.parse(`${day}T00:00:00Z`) + days * 24 * 60 * minute).toISOString().slice(0, 10);
}
