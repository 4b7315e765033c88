// The day's enforcement activities: what officers set out to do, and which clips show it.
import { CheckCircleOutlined, ClockCircleOutlined, LeftOutlined, PlusOutlined, RightOutlined, ScheduleOutlined, StopOutlined, SyncOutlined } from "@ant-design/icons";
import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { Button, DatePicker, Skeleton } from "antd";
import dayjs from "dayjs";
import { useCallback, useMemo, useState } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap } from "../api/client";
import type { ActivitySearch } from "../app/router";
import { useMay } from "../app/session";
import { activityWords, shiftDay, stateOf, type Activity } from "../lib/activities";
import { count, today } from "../lib/format";
import { useNow } from "../lib/live";
import { ClearFilters, TownshipFilter } from "../ui/filters";
import { CopyLink, Empty, PageHead, ProblemView } from "../ui/parts";
import { VirtualTable, type Column } from "../ui/VirtualTable";
import { ActivityForm } from "./activity-form";

export function ActivityState({ a, now }: { a: Activity; now: number }) {
  const { t } = useTranslation();
  switch (stateOf(a, now)) {
    case "cancelled": return <span className="status dim"><StopOutlined />{t("已取消")}</span>;
    case "ahead": return <span className="status"><ClockCircleOutlined />{t("未开始")}</span>;
    case "now": return <span className="status good"><SyncOutlined />{t("进行中")}</span>;
    default: return <span className="status sub"><CheckCircleOutlined />{t("已结束")}</span>;
  }
}

export function useHours() {
  const { t } = useTranslation();
  return (a: Pick<Activity, "from" | "to">) => (a.from && a.to ? `${a.from}–${a.to}${a.to <= a.from ? ` ${t("次日")}` : ""}` : t("全天"));
}

export function ActivityList() {
  const { t } = useTranslation();
  const may = useMay();
  const s = useSearch({ from: "/inside/activities" });
  const navigate = useNavigate();
  const now = useNow(30_000);
  const hoursOf = useHours();
  const [asking, setAsking] = useState(false);
  const day = s.day ?? today();
  const set = useCallback((p: Partial<ActivitySearch>) => void navigate({ to: "/activities", search: (old) => ({ ...(old as ActivitySearch), ...p }), replace: true }), [navigate]);
  const go = (to: string) => set({ day: to === today() ? undefined : to });
  const q = useInfiniteQuery({
    queryKey: ["activities", "list", s.township, day],
    initialPageParam: "",
    queryFn: ({ pageParam, signal }) => unwrap(client.GET("/api/v1/activities", { params: { query: { township: s.township, from: day, to: day, limit: 100, cursor: pageParam || undefined } }, signal })),
    getNextPageParam: (p) => p.next_cursor || undefined,
    placeholderData: keepPreviousData,
    refetchInterval: (query) => ((query.state.data?.pages.length ?? 0) <= 1 ? 30_000 : false),
  });
  const rows = useMemo(() => q.data?.pages.flatMap((p) => p.items) ?? [], [q.data]);
  const total = q.data?.pages[0]?.total;
  const more = useCallback(() => {
    if (q.hasNextPage && !q.isFetchingNextPage) void q.fetchNextPage();
  }, [q]);
  const mayPlan = may("case:write") && day >= today();
  const columns: Column<Activity>[] = [
    { key: "hours", title: t("时间"), width: "128px", cell: (a) => <span className="nowrap">{hoursOf(a)}</span> },
    { key: "title", title: t("执法活动", { context: "one" }), width: "minmax(220px,2fr)", cell: (a) => <><Link to="/activities/$id" params={{ id: a.id }} className="cut" style={{ display: "block", color: "inherit", fontWeight: 600 }} title={a.title}>{a.title}</Link><div className="sub cut">{[t(activityWords[a.kind]), a.place].filter(Boolean).join(" · ")}</div></> },
    { key: "state", title: t("状态"), width: "96px", cell: (a) => <ActivityState a={a} now={now} /> },
    { key: "township", title: t("乡镇"), width: "80px", cell: (a) => a.township_name },
    { key: "officers", title: t("人员"), width: "minmax(150px,1fr)", cell: (a) => { const who = a.officers.map((o) => o.name).join("、"); return <div className="cut" title={who}>{who}</div>; } },
    { key: "case", title: t("案件"), width: "minmax(120px,.7fr)", cell: (a) => (a.case ? <Link to="/cases/$id" params={{ id: a.case.id }} className="cut" style={{ display: "block" }} title={a.case.title}>{a.case.number}</Link> : <span className="dim">—</span>) },
    { key: "clips", title: t("影像"), width: "60px", num: true, cell: (a) => (a.clip_count ? count(a.clip_count) : <span className="dim">0</span>) },
  ];
  return (
    <>
      <PageHead title={t("执法活动")} meta={total !== undefined ? t("当日 {{n}} 项", { n: count(total) }) : undefined}>
        <CopyLink />
        {mayPlan && <Button type="primary" icon={<PlusOutlined />} onClick={() => setAsking(true)}>{t("安排活动")}</Button>}
      </PageHead>
      <div className="filters">
        <div className="row" role="group" aria-label={t("日期")}>
          <Button icon={<LeftOutlined />} aria-label={t("前一天")} onClick={() => go(shiftDay(day, -1))} />
          <DatePicker aria-label={t("日期")} allowClear={false} value={dayjs(day)} onChange={(d) => d && go(d.format("YYYY-MM-DD"))} style={{ width: 140 }} />
          <Button icon={<RightOutlined />} aria-label={t("后一天")} onClick={() => go(shiftDay(day, 1))} />
          <Button disabled={day === today()} onClick={() => set({ day: undefined })}>{t("今天")}</Button>
        </div>
        <TownshipFilter value={s.township} onChange={(township) => set({ township })} />
        <ClearFilters active={s.township !== undefined} onClear={() => set({ township: undefined })} />
      </div>
      {q.error && <div className="body"><ProblemView error={q.error} retry={() => void q.refetch()} /></div>}
      {q.isPending ? <div className="body"><Skeleton active paragraph={{ rows: 8 }} /></div> : !q.error && (
        <VirtualTable label={t("执法活动")} rows={rows} columns={columns} rowKey={(a) => a.id} rowHeight={52} minWidth={920} total={q.hasNextPage ? (total !== undefined ? total + 1 : -1) : rows.length + 1} onEnd={more}
          rowClass={(a) => (a.cancelled_at ? "quiet" : "")} onOpen={(a) => void navigate({ to: "/activities/$id", params: { id: a.id } })}
          empty={<Empty icon={<ScheduleOutlined />} title={t("这一天没有安排执法活动")}><p>{t("安排之后，采集站的按钮会先列出当天的活动，归还记录仪时一点，影像就归到这项活动。")}</p>{mayPlan && <Button style={{ marginTop: 12 }} onClick={() => setAsking(true)}>{t("安排活动")}</Button>}</Empty>} />
      )}
      {asking && <ActivityForm township={s.township} day={day} onClose={() => setAsking(false)} onDone={(a) => void navigate({ to: "/activities/$id", params: { id: a.id } })} />}
    </>
  );
}
