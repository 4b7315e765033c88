// The evidence library: every record one may see, newest recording first.
import { CloseOutlined, CloudUploadOutlined, FileOutlined, PrinterOutlined, VideoCameraOutlined } from "@ant-design/icons";
import { keepPreviousData, useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { Button, Checkbox, DatePicker, Select, Skeleton } from "antd";
import dayjs from "dayjs";
import { useCallback, useMemo, useState } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap, type Evidence } from "../api/client";
import { ClearFilters, TextFilter, TownshipFilter } from "../ui/filters";
import type { EvidenceSearch } from "../app/router";
import { useMay } from "../app/session";
import { activityWords, type ActivityKind } from "../lib/activities";
import { bytes, count, dateTime, duration, shortTime } from "../lib/format";
import { CopyLink, Empty, EvidenceStatus, PageHead, ProblemView, Verdict } from "../ui/parts";
import { VirtualTable, type Column } from "../ui/VirtualTable";
import { GapBand, useChain } from "./chain";
import { isGap, withGaps, type GapRow } from "./gaprows";

/** The filters of the address as the server takes them: a day in Beijing becomes its two ends. */
export function toQuery(s: EvidenceSearch) {
  const day = (d: string | undefined, plus: number) => {
    if (!d || !/^\d{4}-\d{2}-\d{2}$/.test(d)) return undefined;
    const t = Date.parse(`${d}T00:00:00+08:00`);
    return Number.isNaN(t) ? undefined : new Date(t + plus * 86_400_000).toISOString();
  };
  return { township: s.township, status: s.status, verdict: s.verdict, recorder: s.recorder, device_id: s.device_id, q: s.q, late: s.late, activity: s.activity, activity_id: s.activity_id, from: day(s.from, 0), to: day(s.to, 1) };
}

export function Poster({ e }: { e: Pick<Evidence, "id" | "status" | "has_poster"> & { media?: Evidence["media"] } }) {
  const { t } = useTranslation();
  const [broken, setBroken] = useState(false);
  if (e.has_poster && !broken) {
    return <div className="poster"><img src={`/api/v1/evidence/${encodeURIComponent(e.id)}/poster`} alt="" loading="lazy" decoding="async" onError={() => setBroken(true)} />{e.media?.duration_ms !== undefined && <span className="len">{duration(e.media.duration_ms)}</span>}</div>;
  }
  if (e.status === "pending") return <div className="poster pending"><span><CloudUploadOutlined /><br />{t("影像待传")}</span></div>;
  return <div className="poster">{e.media?.playable ? <VideoCameraOutlined style={{ fontSize: 18 }} /> : <FileOutlined style={{ fontSize: 18 }} />}</div>;
}

/** The one activity whose clips are listed. */
function ActivityChip({ id, onClose }: { id: string; onClose: () => void }) {
  const { t } = useTranslation();
  const may = useMay();
  const q = useQuery({ queryKey: ["activities", id], queryFn: ({ signal }) => unwrap(client.GET("/api/v1/activities/{id}", { params: { path: { id } }, signal })), enabled: may("case:read"), retry: false });
  const name = q.data ? `${q.data.title} ${q.data.day}` : id;
  return <span className="tag">{may("case:read") && q.data ? <Link to="/activities/$id" params={{ id }}>{name}</Link> : name}<button type="button" className="plainbtn" aria-label={t("不限活动 {{name}}", { name })} onClick={onClose}><CloseOutlined /></button></span>;
}

export function EvidenceList() {
  const { t } = useTranslation();
  const s = useSearch({ from: "/inside/evidence" });
  const navigate = useNavigate();
  const set = useCallback((p: Partial<EvidenceSearch>) => void navigate({ to: "/evidence", search: (old) => ({ ...(old as EvidenceSearch), ...p }), replace: true }), [navigate]);
  const q = useInfiniteQuery({
    queryKey: ["evidence", "list", s],
    initialPageParam: "",
    queryFn: ({ pageParam, signal }) => unwrap(client.GET("/api/v1/evidence", { params: { query: { ...toQuery(s), limit: 100, cursor: pageParam || undefined } }, signal })),
    getNextPageParam: (p) => p.next_cursor || undefined,
    placeholderData: keepPreviousData,
    refetchInterval: (query) => ((query.state.data?.pages.length ?? 0) <= 1 ? 10_000 : false),
  });
  const rows = useMemo(() => q.data?.pages.flatMap((p) => p.items) ?? [], [q.data]);
  const total = q.data?.pages[0]?.total;
  // Filtered by one recorder, what never arrived is a row of its own between its neighbours.
  const device = s.recorder ?? s.device_id;
  const may = useMay();
  const chain = useChain(device, may("device:read"));
  const shown = useMemo(() => withGaps(rows, device ? chain.data?.keys.flatMap((k) => k.gaps) ?? [] : []), [rows, device, chain.data]);
  const more = useCallback(() => {
    if (q.hasNextPage && !q.isFetchingNextPage) void q.fetchNextPage();
  }, [q]);
  const filtered = Object.values(s).some((v) => v !== undefined);
  const cells: Column<Evidence>[] = [
    { key: "poster", title: t("影像"), width: "88px", cell: (e) => <Poster e={e} /> },
    { key: "file", title: t("文件 / 编号"), width: "minmax(250px,1fr)", cell: (e) => <><Link to="/evidence/$id" params={{ id: e.id }} search={{}} className="cut" style={{ display: "block", color: "inherit", fontWeight: 600 }} title={e.file_name}>{e.file_name}</Link><div className="sub cut">{e.id} · {bytes(e.size)}</div></> },
    { key: "status", title: t("状态"), width: "146px", cell: (e) => <EvidenceStatus e={e} /> },
    { key: "verdict", title: t("判定"), width: "82px", cell: (e) => <Verdict v={e.status === "pending" ? undefined : e.media.verdict} /> },
    { key: "recorder", title: t("记录仪"), width: "minmax(112px,.3fr)", cell: (e) => <div className="cut" title={e.recorder}>{e.recorder ?? "—"}</div> },
    { key: "township", title: t("乡镇"), width: "72px", cell: (e) => <div className="cut" title={e.township_name}>{e.township_name}</div> },
    { key: "recorded", title: t("录制时间"), width: "90px", cell: (e) => shortTime(e.recorded_at) },
    { key: "cases", title: t("案件"), width: "56px", cell: (e) => (e.case_count ? t("{{n}} 件", { n: e.case_count }) : <span className="dim">{t("未关联")}</span>) },
    { key: "sealed", title: t("封存时间"), width: "90px", cell: (e) => (e.sealed_at ? shortTime(e.sealed_at) : <><div>{shortTime(e.registered_at)}</div><div className="sub">{t("指纹已入册")}</div></>) },
  ];
  const columns: Column<Evidence | GapRow>[] = cells.map((c) => ({ ...c, cell: (r) => (isGap(r) ? null : c.cell(r)) }));
  return (
    <>
      <PageHead title={t("证据库")} meta={total !== undefined ? (filtered ? t("筛选后 {{n}} 条", { n: count(total) }) : t("{{n}} 条", { n: count(total) })) : rows.length > 0 ? t("已载入 {{n}} 条", { n: count(rows.length) }) : undefined}>
        <CopyLink />
        <Button icon={<PrinterOutlined />} onClick={() => print()}>{t("打印目录")}</Button>
      </PageHead>
      <div className="filters">
        <TownshipFilter value={s.township} onChange={(township) => set({ township })} />
        <Select aria-label={t("状态")} placeholder={t("状态：全部")} allowClear style={{ width: 120 }} value={s.status} onChange={(status?: EvidenceSearch["status"]) => set({ status })}
          options={[{ value: "pending", label: t("影像待传") }, { value: "sealed", label: t("已封存") }, { value: "damaged", label: t("校验不符") }, { value: "deleted", label: t("已销毁") }]} />
        <Select aria-label={t("判定")} placeholder={t("判定：全部")} allowClear style={{ width: 120 }} value={s.verdict} onChange={(verdict?: string) => set({ verdict })}
          options={[["ok", "完好"], ["truncated", "截断"], ["damaged", "损坏"], ["not-media", "非影像"], ["empty", "空文件"], ["sidecar", "附属文件"]].map(([value, l]) => ({ value, label: t(l ?? "") }))} />
        <DatePicker.RangePicker aria-label={t("录制日期")} allowEmpty={[true, true]} placeholder={[t("录制起"), t("录制止")]} style={{ width: 224 }} value={[s.from ? dayjs(s.from) : null, s.to ? dayjs(s.to) : null]}
          onChange={(v) => set({ from: v?.[0]?.format("YYYY-MM-DD"), to: v?.[1]?.format("YYYY-MM-DD") })} />
        <TextFilter value={s.recorder} onChange={useCallback((recorder?: string) => set({ recorder }), [set])} placeholder={t("记录仪编号")} width={140} />
        <TextFilter value={s.q} onChange={useCallback((text?: string) => set({ q: text }), [set])} placeholder={t("文件名、编号")} width={170} />
        <Select aria-label={t("执法活动")} placeholder={t("活动：全部")} allowClear style={{ width: 120 }} value={s.activity} onChange={(activity?: ActivityKind) => set({ activity })}
          options={Object.entries(activityWords).map(([value, l]) => ({ value, label: t(l) }))} />
        {s.activity_id && <ActivityChip id={s.activity_id} onClose={() => set({ activity_id: undefined })} />}
        <Checkbox checked={!!s.late} onChange={(ev) => set({ late: ev.target.checked || undefined })}>{t("只看迟传")}</Checkbox>
        <ClearFilters active={filtered} onClear={() => void navigate({ to: "/evidence", search: {} })} />
        {!filtered && <span className="sub" style={{ marginLeft: "auto" }}>{t("排序：录制时间 新→旧")}</span>}
      </div>
      {q.error && <div className="body"><ProblemView error={q.error} retry={() => void q.refetch()} /></div>}
      {q.isPending ? <div className="body"><Skeleton active paragraph={{ rows: 8 }} /></div> : !q.error && (
        <VirtualTable label={t("证据")} rows={shown} columns={columns} rowKey={(e) => e.id} wide={(r) => (isGap(r) ? <GapBand g={r.gap} device={device} /> : null)} rowHeight={62} minWidth={1080} total={q.hasNextPage ? (total !== undefined ? total + 1 : -1) : shown.length + 1}
          onOpen={(e) => !isGap(e) && void navigate({ to: "/evidence/$id", params: { id: e.id }, search: {} })} onEnd={more}
          empty={filtered
            ? <Empty icon={<VideoCameraOutlined />} title={t("没有符合筛选的证据")}><p>{t("放宽或清除筛选后再看。")}</p></Empty>
            : <Empty icon={<VideoCameraOutlined />} title={t("还没有证据")}><p>{t("把记录仪放回采集站，或在采集站电脑上运行 zhizheng-dock；指纹几秒内就会出现在这里。")}</p></Empty>} />
      )}
      <PrintList rows={shown} />
    </>
  );
}

/** A virtual table prints only what is in view, so paper gets a table of its own. */
function PrintList({ rows }: { rows: (Evidence | GapRow)[] }) {
  const { t } = useTranslation();
  return (
    <table className="plain printonly">
      <caption>{t("证据目录（已载入 {{n}} 条，{{time}} 打印）", { n: rows.filter((r) => !isGap(r)).length, time: dateTime(new Date()) })}</caption>
      <thead><tr><th>{t("文件")}</th><th>{t("编号")}</th><th>{t("状态")}</th><th>{t("记录仪")}</th><th>{t("录制时间")}</th><th>SHA-256</th></tr></thead>
      <tbody>{rows.slice(0, 1000).map((e) => isGap(e) ? <tr key={e.id}><td colSpan={6}><GapBand g={e.gap} acts={false} /></td></tr> : <tr key={e.id}><td>{e.file_name}</td><td>{e.id}</td><td><EvidenceStatus e={e} /></td><td>{e.recorder}</td><td>{dateTime(e.recorded_at)}</td><td className="mono">{e.sha256}</td></tr>)}</tbody>
    </table>
  );
}
