// Where the recorder claims to have been: a line, its ends, and where the playhead is. Drawn here; no map is asked for anything.
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useMemo } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap } from "../api/client";
import { count, dateTime } from "../lib/format";
import { drawTrack, fixAt } from "./track";

const width = 800;
const height = 220;

export function TrackView({ id, now, onSeek }: { id: string; now?: number; onSeek?: (t: number) => void }) {
  const { t } = useTranslation();
  const q = useQuery({ queryKey: ["track", id], staleTime: 300_000, retry: false, queryFn: ({ signal }) => unwrap(client.GET("/api/v1/evidence/{id}/track", { params: { path: { id } }, signal })) });
  const track = q.data;
  const drawn = useMemo(() => (track?.points.length ? drawTrack(track.points, width, height, 20) : undefined), [track]);
  if (!track || !drawn) return null;
  const n = fixAt(track.points, now ?? 0);
  const fix = track.points[n];
  const [x, y] = drawn.points[n] ?? [0, 0];
  const first = drawn.points[0] ?? [0, 0];
  const last = drawn.points[drawn.points.length - 1] ?? [0, 0];
  const across = drawn.metres >= 1000 ? t("{{n}} 公里", { n: (drawn.metres / 1000).toFixed(1) }) : t("{{n}} 米", { n: Math.round(drawn.metres) });
  return (
    <section className="trackview" aria-label={t("轨迹")}>
      <div className="row wrap">
        <h2>{t("轨迹")}</h2>
        {fix && <span className="mono">{fix.lat.toFixed(5)}, {fix.lon.toFixed(5)}</span>}
        {fix?.speed !== undefined && <span>{t("{{n}} 公里/小时", { n: Math.round(fix.speed) })}</span>}
        {fix?.time && <span className="sub">{t("卫星时间 {{time}}", { time: dateTime(fix.time) })}</span>}
        <span className="grow" />
        <span className="sub">{t("{{n}} 个定位点，范围 {{across}}", { n: count(track.fixes), across })}</span>
      </div>
      <svg viewBox={`0 0 ${width} ${height}`} role="img" aria-label={t("记录仪自报的行进路线，上北")}
        onClick={(ev) => {
          if (!onSeek) return;
          const r = ev.currentTarget.getBoundingClientRect();
          const k = Math.min(r.width / width, r.height / height);
          const [cx, cy] = [(ev.clientX - r.left - (r.width - width * k) / 2) / k, (ev.clientY - r.top - (r.height - height * k) / 2) / k];
          let best = 0;
          drawn.points.forEach(([px, py], i) => {
            const [bx, by] = drawn.points[best] ?? [0, 0];
            if (Math.hypot(px - cx, py - cy) < Math.hypot(bx - cx, by - cy)) best = i;
          });
          onSeek((track.points[best]?.at_ms ?? 0) / 1000);
        }}>
        <polyline points={drawn.path} />
        <circle className="from" cx={first[0]} cy={first[1]} r={5} /><text x={first[0] + 8} y={first[1] - 6}>{t("起")}</text>
        <rect className="to" x={last[0] - 5} y={last[1] - 5} width={10} height={10} /><text x={last[0] + 8} y={last[1] + 14}>{t("止")}</text>
        {now !== undefined && <circle className="here" cx={x} cy={y} r={6} />}
      </svg>
      <div className="sub">
        {t("位置由记录仪自报，未经核实。")}
        {track.sidecar && <> {t("来自随附文件")} <Link to="/evidence/$id" params={{ id: track.evidence_id }}>{track.sidecar}</Link></>}
        {!!track.dropped && <> {t("另有 {{n}} 个不合理的定位点没有画出。", { n: count(track.dropped) })}</>}
      </div>
    </section>
  );
}
