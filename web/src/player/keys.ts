// The player's keys: one list makes both the keyboard and its help.
export type PlayerKey = { keys: string[]; shift?: boolean; show: string; says: string; act: PlayerAct };
export type PlayerAct = "play" | "frameBack" | "frameOn" | "keyBack" | "keyOn" | "back1" | "on1" | "back10" | "on10" | "slower" | "pause" | "faster" | "in" | "out" | "clear" | "mark" | "prevMark" | "nextMark" | "snapshot" | "verify" | "full" | "mute" | "help" | "start" | "end";

export const playerKeys: PlayerKey[] = [
  { keys: [" "], show: "空格", says: "播放 / 暂停", act: "play" },
  { keys: [",", "，"], show: ",", says: "上一帧", act: "frameBack" },
  { keys: [".", "。"], show: ".", says: "下一帧", act: "frameOn" },
  { keys: ["<", "《"], show: "<", says: "上一关键帧", act: "keyBack" },
  { keys: [">", "》"], show: ">", says: "下一关键帧", act: "keyOn" },
  { keys: ["ArrowLeft"], show: "←", says: "后退 1 秒", act: "back1" },
  { keys: ["ArrowRight"], show: "→", says: "前进 1 秒", act: "on1" },
  { keys: ["ArrowLeft"], shift: true, show: "Shift+←", says: "后退 10 秒", act: "back10" },
  { keys: ["ArrowRight"], shift: true, show: "Shift+→", says: "前进 10 秒", act: "on10" },
  { keys: ["j"], show: "J", says: "减速，再按倒退", act: "slower" },
  { keys: ["k"], show: "K", says: "暂停，速度复原", act: "pause" },
  { keys: ["l"], show: "L", says: "播放，再按加速", act: "faster" },
  { keys: ["i"], show: "I", says: "选段起点", act: "in" },
  { keys: ["o"], show: "O", says: "选段止点", act: "out" },
  { keys: ["x"], show: "X", says: "清除选段", act: "clear" },
  { keys: ["m"], show: "M", says: "在此做标记", act: "mark" },
  { keys: ["[", "【"], show: "[", says: "上一标记", act: "prevMark" },
  { keys: ["]", "】"], show: "]", says: "下一标记", act: "nextMark" },
  { keys: ["Home"], show: "Home", says: "到开头", act: "start" },
  { keys: ["End"], show: "End", says: "到结尾", act: "end" },
  { keys: ["s"], show: "S", says: "截图", act: "snapshot" },
  { keys: ["v"], show: "V", says: "在本机校验", act: "verify" },
  { keys: ["f"], show: "F", says: "全屏", act: "full" },
  { keys: ["a"], show: "A", says: "静音 / 开声", act: "mute" },
  { keys: ["?", "？"], show: "?", says: "按键说明", act: "help" },
];

export function actOf(e: Pick<KeyboardEvent, "key" | "shiftKey">): PlayerAct | undefined {
  const key = e.key.length === 1 ? e.key.toLowerCase() : e.key;
  const arrow = key.startsWith("Arrow");
  return playerKeys.find((k) => k.keys.includes(key) && (!arrow || !!k.shift === e.shiftKey))?.act;
}

const rates = [0.25, 0.5, 1, 1.5, 2, 4, 8];
/** The next speed up or down the ladder; undefined below its lowest step (J then goes back by steps). */
export function nextRate(now: number, up: boolean): number | undefined {
  if (up) return rates.find((r) => r > now + 1e-6) ?? rates[rates.length - 1];
  return [...rates].reverse().find((r) => r < now - 1e-6);
}

/** Markers in the address: seconds with three decimals, in order, at most 50. */
export function parseMarks(m: string | undefined): number[] {
  const all = (m ?? "").split("_").map(Number).filter((n) => Number.isFinite(n) && n > 0);
  return [...new Set(all)].sort((a, b) => a - b).slice(0, 50);
}
export function writeMarks(m: number[]): string | undefined {
  return m.length ? m.map((n) => String(Math.round(n * 1000) / 1000)).join("_") : undefined;
}
