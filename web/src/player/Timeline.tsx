// Where one is in the file: ticks in the recorder's time, the chosen range, markers. A slider to the keyboard and to screen readers.
import { CloseOutlined, TagFilled } from "@ant-design/icons";
import { Button } from "antd";
import { useRef, type PointerEvent } from "react";
import { useTranslation } from "react-i18next";
import { clock, dateTime } from "../lib/format";

type Props = { length: number; now: number; range: { in?: number; out?: number }; marks: number[]; start?: string; onSeek: (t: number) => void; onRemoveMark: (m: number) => void; onClear: () => void };

/** Steps that a person reads easily, at most n of them. */
export function ticks(length: number, n: number): number[] {
  if (!(length > 0)) return [];
  const step = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600].find((s) => length / s <= n) ?? Math.ceil(length / n / 3600) * 3600;
  const out: number[] = [];
  for (let s = 0; s < length; s += step) out.push(s);
  return out;
}

export function Timeline({ length, now, range, marks, start, onSeek, onRemoveMark, onClear }: Props) {
  const { t } = useTranslation();
  const bar = useRef<HTMLDivElement>(null);
  const pct = (s: number) => `${length > 0 ? Math.min(100, Math.max(0, (s / length) * 100)) : 0}%`;
  const at = (ev: PointerEvent) => {
    const r = bar.current?.getBoundingClientRect();
    return r && length > 0 ? Math.max(0, Math.min(1, (ev.clientX - r.left) / r.width)) * length : 0;
  };
  const base = start ? Date.parse(start) : NaN;
  const label = (s: number) => (Number.isNaN(base) ? clock(s).slice(0, 8) : dateTime(new Date(base + s * 1000)).slice(11));
  const chosen = range.in !== undefined || range.out !== undefined;
  return (
    <div className="timeline">
      <div className="scale" aria-hidden>{ticks(length, 10).map((s) => <span key={s} style={{ left: pct(s) }}>{label(s)}</span>)}</div>
      <div className="bar" ref={bar} role="slider" tabIndex={0} aria-label={t("播放位置")} aria-valuemin={0} aria-valuemax={Math.round(length)} aria-valuenow={Math.round(now)} aria-valuetext={clock(now)}
        onPointerDown={(ev) => { ev.currentTarget.setPointerCapture(ev.pointerId); onSeek(at(ev)); }} onPointerMove={(ev) => { if (ev.buttons & 1) onSeek(at(ev)); }}>
        {chosen && <i className="range" style={{ left: pct(range.in ?? 0), right: `calc(100% - ${pct(range.out ?? length)})` }} />}
        <i className="played" style={{ width: pct(now) }} />
        {marks.map((m) => <i key={m} className="mark" style={{ left: pct(m) }} />)}
        <i className="head-now" style={{ left: pct(now) }} />
      </div>
      {(marks.length > 0 || chosen) && (
        <div className="row wrap chips">
          {chosen && <span className="tag"><button type="button" className="plainbtn" onClick={() => onSeek(range.in ?? 0)}>{t("选段 {{from}} – {{to}}", { from: clock(range.in ?? 0), to: clock(range.out ?? length) })}</button><Button size="small" type="text" icon={<CloseOutlined />} aria-label={t("清除选段")} onClick={onClear} /></span>}
          {marks.map((m) => <span className="tag" key={m}><TagFilled aria-hidden /><button type="button" className="plainbtn" onClick={() => onSeek(m)}>{clock(m)}</button><Button size="small" type="text" icon={<CloseOutlined />} aria-label={t("删除标记 {{at}}", { at: clock(m) })} onClick={() => onRemoveMark(m)} /></span>)}
          <span className="sub">{t("标记只在链接里，复制链接即可交给别人；原件不变。")}</span>
        </div>
      )}
    </div>
  );
}
