// The cases one may see, newest first.
import { ClockCircleOutlined, FolderOpenOutlined, PlusOutlined } from "@ant-design/icons";
import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { Button, Select, Skeleton } from "antd";
import { useCallback, useMemo } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap, type Case } from "../api/client";
import type { CaseSearch } from "../app/router";
import { useMay } from "../app/session";
import { count, dateOnly } from "../lib/format";
import { ClearFilters, TextFilter, TownshipFilter } from "../ui/filters";
import { CopyLink, Empty, PageHead, ProblemView } from "../ui/parts";
import { VirtualTable, type Column } from "../ui/VirtualTable";

export function Deadline({ c }: { c: Case }) {
  const { t } = useTranslation();
  if (!c.due_on || !c.open) return <span className="dim">—</span>;
  const left = c.days_left;
  const tone = left === undefined ? "" : left < 0 ? "bad" : left <= 7 ? "warn" : "";
  return <span className={`status ${tone}`}><ClockCircleOutlined />{c.due_on.slice(5)}{left !== undefined && <span className={tone ? "" : "sub"}>{left < 0 ? t("逾期 {{n}} 天", { n: -left }) : t("剩 {{n}} 天", { n: left })}</span>}</span>;
}

export function CaseList() {
  const { t } = useTranslation();
  const may = useMay();
  const s = useSearch({ from: "/inside/cases" });
  const navigate = useNavigate();
  const set = useCallback((p: Partial<CaseSearch>) => void navigate({ to: "/cases", search: (old) => ({ ...(old as CaseSearch), ...p }), replace: true }), [navigate]);
  const setText = useCallback((q?: string) => set({ q }), [set]);
  const q = useInfiniteQuery({
    queryKey: ["cases", "list", s],
    initialPageParam: "",
    queryFn: ({ pageParam, signal }) => unwrap(client.GET("/api/v1/cases", { params: { query: { township: s.township, open: s.open, q: s.q, limit: 100, cursor: pageParam || undefined } }, signal })),
    getNextPageParam: (p) => p.next_cursor || undefined,
    placeholderData: keepPreviousData,
  });
  const rows = useMemo(() => q.data?.pages.flatMap((p) => p.items) ?? [], [q.data]);
  const total = q.data?.pages[0]?.total;
  const more = useCallback(() => {
    if (q.hasNextPage && !q.isFetchingNextPage) void q.fetchNextPage();
  }, [q]);
  const filtered = Object.values(s).some((v) => v !== undefined);
  const columns: Column<Case>[] = [
    { key: "number", title: t("案号"), width: "190px", cell: (c) => <Link to="/cases/$id" params={{ id: c.id }}>{c.number}</Link> },
    { key: "title", title: t("案由"), width: "minmax(240px,2fr)", cell: (c) => <><div className="cut" style={{ fontWeight: 600 }}>{c.title}</div><div className="sub cut">{c.power_item_name}</div></> },
    { key: "township", title: t("乡镇"), width: "90px", cell: (c) => c.township_name },
    { key: "mode", title: t("方式"), width: "80px", cell: (c) => (c.mode_name ? t(c.mode_name) : "—") },
    { key: "stage", title: t("进度"), width: "110px", cell: (c) => <span className={c.open ? "" : "dim"}>{t(c.stage_name)}</span> },
    { key: "due", title: t("期限"), width: "150px", cell: (c) => <Deadline c={c} /> },
    { key: "ev", title: t("证据"), width: "70px", num: true, cell: (c) => c.evidence_count },
    { key: "opened", title: t("立案日期"), width: "100px", cell: (c) => dateOnly(c.opened_at) },
  ];
  return (
    <>
      <PageHead title={t("案件")} meta={total !== undefined ? t("{{n}} 件", { n: count(total) }) : undefined}>
        <CopyLink />
        {may("case:write") && <Button type="primary" icon={<PlusOutlined />} onClick={() => void navigate({ to: "/cases/new", search: { township: s.township } })}>{t("立案", { context: "act" })}</Button>}
      </PageHead>
      <div className="filters">
        <TownshipFilter value={s.township} onChange={(township) => set({ township })} />
        <Select aria-label={t("进度")} placeholder={t("进度：全部")} allowClear style={{ width: 130 }} value={s.open === undefined ? undefined : s.open ? "open" : "closed"} onChange={(v?: string) => set({ open: v === undefined ? undefined : v === "open" })}
          options={[{ value: "open", label: t("在办") }, { value: "closed", label: t("已结") }]} />
        <TextFilter value={s.q} onChange={setText} placeholder={t("案号、案由")} width={220} />
        <ClearFilters active={filtered} onClear={() => void navigate({ to: "/cases", search: {} })} />
      </div>
      {q.error && <div className="body"><ProblemView error={q.error} retry={() => void q.refetch()} /></div>}
      {q.isPending ? <div className="body"><Skeleton active paragraph={{ rows: 8 }} /></div> : !q.error && (
        <VirtualTable label={t("案件")} rows={rows} columns={columns} rowKey={(c) => c.id} rowHeight={52} minWidth={1040} total={q.hasNextPage ? (total !== undefined ? total + 1 : -1) : rows.length + 1} onEnd={more}
          onOpen={(c) => void navigate({ to: "/cases/$id", params: { id: c.id } })}
          empty={filtered ? <Empty icon={<FolderOpenOutlined />} title={t("没有符合筛选的案件")} /> : <Empty icon={<FolderOpenOutlined />} title={t("还没有案件")}><p>{t("立案需要一项本乡镇有效的权力事项和两名持证执法人员。")}</p></Empty>} />
      )}
    </>
  );
}
