// Power items handed down, with mode and interval; without a township the catalogue of the county.
import { CheckCircleOutlined, ExclamationCircleOutlined, AuditOutlined } from "@ant-design/icons";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { Skeleton } from "antd";
import { useCallback, useMemo } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap, type Schemas } from "../api/client";
import { ClearFilters, TextFilter, TownshipFilter } from "../ui/filters";
import { CopyLink, Empty, PageHead, ProblemView } from "../ui/parts";
import { VirtualTable, type Column } from "../ui/VirtualTable";

type PowerItem = Schemas["PowerItem"];

export function PowerItems() {
  const { t } = useTranslation();
  const s = useSearch({ from: "/inside/power-items" });
  const navigate = useNavigate();
  const set = useCallback((p: { township?: string; q?: string }) => void navigate({ to: "/power-items", search: (old) => ({ ...(old as object), ...p }), replace: true }), [navigate]);
  const setText = useCallback((q?: string) => set({ q }), [set]);
  const q = useInfiniteQuery({
    queryKey: ["power-items", "list", s],
    initialPageParam: "",
    queryFn: ({ pageParam, signal }) => unwrap(client.GET("/api/v1/power-items", { params: { query: { township: s.township, q: s.q, limit: 200, cursor: pageParam || undefined } }, signal })),
    getNextPageParam: (p) => p.next_cursor || undefined,
  });
  const rows = useMemo(() => q.data?.pages.flatMap((p) => p.items) ?? [], [q.data]);
  const more = useCallback(() => {
    if (q.hasNextPage && !q.isFetchingNextPage) void q.fetchNextPage();
  }, [q]);
  const filtered = Object.values(s).some((v) => v !== undefined);
  const columns: Column<PowerItem>[] = [
    { key: "code", title: t("编号"), width: "110px", cell: (p) => <span className="mono">{p.code}</span> },
    { key: "name", title: t("权力事项"), width: "minmax(260px,2fr)", cell: (p) => <><div className="cut" style={{ fontWeight: 600 }} title={p.name}>{p.name}</div><div className="sub cut" title={p.basis}>{p.basis}</div></> },
    { key: "field", title: t("领域"), width: "110px", cell: (p) => p.field },
    { key: "dept", title: t("原主管部门"), width: "minmax(120px,.7fr)", cell: (p) => <div className="cut">{p.department ?? "—"}</div> },
    // mode and interval belong to a township's grant, not to the county's list
    ...(s.township ? [
      { key: "mode", title: t("方式"), width: "90px", cell: (p: PowerItem) => (p.mode_name ? t(p.mode_name) : "—") },
      { key: "from", title: t("起"), width: "95px", cell: (p: PowerItem) => p.from ?? "—" },
      { key: "to", title: t("止"), width: "95px", cell: (p: PowerItem) => p.to ?? "—" },
    ] : []),
    { key: "ok", title: t("今日"), width: "90px", cell: (p) => (p.in_force ? <span className="status good"><CheckCircleOutlined />{t("有效")}</span> : p.in_force === false ? <span className="status warn"><ExclamationCircleOutlined />{s.township ? t("无效") : t("未下放")}</span> : "—") },
  ];
  return (
    <>
      <PageHead title={t("权力事项")} meta={s.township ? t("本乡镇的事项") : t("全县目录；选一个乡镇看它的方式与起止")}><CopyLink /></PageHead>
      <div className="filters">
        <TownshipFilter value={s.township} onChange={(township) => set({ township })} />
        <TextFilter value={s.q} onChange={setText} placeholder={t("事项、法律、编号")} />
        <ClearFilters active={filtered} onClear={() => void navigate({ to: "/power-items", search: {} })} />
      </div>
      {q.error && <div className="body"><ProblemView error={q.error} retry={() => void q.refetch()} /></div>}
      {q.isPending ? <div className="body"><Skeleton active paragraph={{ rows: 8 }} /></div> : !q.error && <VirtualTable label={t("权力事项")} rows={rows} columns={columns} rowKey={(p) => p.id} rowHeight={52} minWidth={1020} total={q.hasNextPage ? -1 : rows.length + 1} onEnd={more} empty={<Empty icon={<AuditOutlined />} title={t("没有符合的权力事项")} />} />}
    </>
  );
}
