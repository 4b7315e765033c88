// How figures and times are written: Beijing time, 万元 with two decimals, binary sizes with decimal names as recorders print them.

const parts = new Intl.DateTimeFormat("zh-CN", {
  timeZone: "Asia/Shanghai", hourCycle: "h23",
  year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
});

function split(t: string | Date): Record<string, string> | undefined {
  const d = typeof t === "string" ? new Date(t) : t;
  if (Number.isNaN(d.getTime())) return undefined;
  const o: Record<string, string> = {};
  for (const p of parts.formatToParts(d)) o[p.type] = p.value;
  return o;
}

/** 2026-11-18 15:36:00, always +08:00. */
export function dateTime(t?: string | Date): string {
  const o = t ? split(t) : undefined;
  return o ? `${o.year}-${o.month}-${o.day} ${o.hour}:${o.minute}:${o.second}` : "—";
}

/** 11-18 15:36 in the current year, with the year otherwise. */
export function shortTime(t?: string | Date, now: Date = new Date()): string {
  const o = t ? split(t) : undefined;
  if (!o) return "—";
  const year = split(now)?.year === o.year ? "" : `${o.year}-`;
  return `${year}${o.month}-${o.day} ${o.hour}:${o.minute}`;
}

export function dateOnly(t?: string | Date): string {
  const o = t ? split(t) : undefined;
  return o ? `${o.year}-${o.month}-${o.day}` : "—";
}

/** today is the date in Beijing, as forms want it. */
export function today(now: Date = new Date()): string {
  return dateOnly(now);
}

/** 00:31:18 of milliseconds. */
export function duration(ms?: number): string {
  if (ms === undefined || ms === null) return "—";
  const s = Math.round(ms / 1000);
  const p = (n: number) => String(n).padStart(2, "0");
  return `${p(Math.floor(s / 3600))}:${p(Math.floor(s / 60) % 60)}:${p(s % 60)}`;
}

/** 00:06:07.240 of seconds. */
export function clock(s: number): string {
  if (!Number.isFinite(s) || s < 0) s = 0;
  const ms = Math.floor(s * 1000 + 1e-6);
  const p = (n: number, w = 2) => String(n).padStart(w, "0");
  return `${p(Math.floor(ms / 3600000))}:${p(Math.floor(ms / 60000) % 60)}:${p(Math.floor(ms / 1000) % 60)}.${p(ms % 1000, 3)}`;
}

export function bytes(n: number): string {
  if (n < 1024) return `${n} B`;
  const u = ["KB", "MB", "GB", "TB"];
  let i = -1;
  do {
    n /= 1024;
    i++;
  } while (n >= 1023.5 && i < u.length - 1);
  return `${n < 9.95 ? n.toFixed(1) : Math.round(n)} ${u[i]}`;
}

export function count(n?: number): string {
  return n === undefined ? "—" : n.toLocaleString("zh-CN");
}

/** 3.62, in 万元. */
export function wan(fen: number): string {
  return (fen / 1_000_000).toLocaleString("zh-CN", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
}

/** 1,800.00, in 元. */
export function yuan(fen: number): string {
  return (fen / 100).toLocaleString("zh-CN", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
}

/** parseYuan reads an amount typed in 元 into fen without passing through floating point; undefined when it isn't one.
 * Commas only group thousands, so that "1,5" isn't taken for fifteen. Full-width digits and signs are what an input method types. */
export function parseYuan(s: string): number | undefined {
  const plain = s.normalize("NFKC").replace(/\s/g, "");
  const m = /^(-?)(\d{1,10})(?:\.(\d{1,2}))?$/.exec(/^-?\d{1,3}(,\d{3})+(\.|$)/.test(plain) ? plain.replace(/,/g, "") : plain);
  if (!m) return undefined;
  const fen = Number(m[2]) * 100 + Number((m[3] ?? "").padEnd(2, "0") || 0);
  return m[1] ? -fen : fen;
}

/** ago is a plain distance in time; zh unless English is asked for. */
export function ago(t: string | undefined, now: number, en = false): string {
  if (!t) return "—";
  const s = Math.max(0, Math.round((now - Date.parse(t)) / 1000));
  if (Number.isNaN(s)) return "—";
  const say = (n: number, zh: string, e: string) => (en ? `${n} ${e} ago` : `${n} ${zh}前`);
  if (s < 60) return say(s, "秒", "s");
  if (s < 3600) return say(Math.floor(s / 60), "分钟", "min");
  if (s < 86400) return say(Math.floor(s / 3600), "小时", "h");
  return say(Math.floor(s / 86400), "天", "d");
}

/** 9f2c 41ab …, easier to compare by eye. */
export function groups(hex: string, n = 8): string {
  return hex.match(new RegExp(`.{1,${n}}`, "g"))?.join(" ") ?? hex;
}
