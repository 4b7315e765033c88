// Officers and their certificates.
import { CheckCircleOutlined, ExclamationCircleOutlined, IdcardOutlined } from "@ant-design/icons";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { App, Button, Skeleton } from "antd";
import { useCallback, useMemo } from "react";
import { useTranslation } from "react-i18next";
import { client, Problem, unwrap, type Schemas } from "../api/client";
import { useMay } from "../app/session";
import { ClearFilters, TextFilter, TownshipFilter } from "../ui/filters";
import { CopyLink, Empty, PageHead, ProblemView } from "../ui/parts";
import { VirtualTable, type Column } from "../ui/VirtualTable";

type Officer = Schemas["Officer"];

export function Officers() {
  const { t } = useTranslation();
  const s = useSearch({ from: "/inside/officers" });
  const navigate = useNavigate();
  const set = useCallback((p: { township?: string; q?: string }) => void navigate({ to: "/officers", search: (old) => ({ ...(old as object), ...p }), replace: true }), [navigate]);
  const setText = useCallback((q?: string) => set({ q }), [set]);
  const q = useInfiniteQuery({
    queryKey: ["officers", "list", s],
    initialPageParam: "",
    queryFn: ({ pageParam, signal }) => unwrap(client.GET("/api/v1/officers", { params: { query: { township: s.township, q: s.q, limit: 200, cursor: pageParam || undefined } }, signal })),
    getNextPageParam: (p) => p.next_cursor || undefined,
  });
  const rows = useMemo(() => q.data?.pages.flatMap((p) => p.items) ?? [], [q.data]);
  const more = useCallback(() => {
    if (q.hasNextPage && !q.isFetchingNextPage) void q.fetchNextPage();
  }, [q]);
  const may = useMay();
  const { modal, message } = App.useApp();
  const newPin = useCallback(async (o: Officer) => {
    try {
      const r = await unwrap(client.POST("/api/v1/officers/{id}/pin", { params: { path: { id: o.id } } }));
      modal.info({ title: t("{{name}} 的采集站 PIN", { name: o.name }), content: <><p style={{ fontSize: 28, letterSpacing: 6 }} className="mono">{r.pin}</p><p>{t("只显示这一次，请当面告知本人；原来的 PIN 已作废。")}</p></>, okText: t("知道了") });
    } catch (e) {
      void message.error(e instanceof Problem ? t(e.detail ?? e.title) : t("没有成功，请再试一次"));
    }
  }, [modal, message, t]);
  const filtered = Object.values(s).some((v) => v !== undefined);
  const columns: Column<Officer>[] = [
    { key: "name", title: t("姓名"), width: "120px", cell: (o) => <b>{o.name}</b> },
    { key: "unit", title: t("单位"), width: "minmax(140px,1fr)", cell: (o) => o.unit_name },
    { key: "cert", title: t("执法证"), width: "minmax(160px,1fr)", cell: (o) => o.certificate || <span className="dim">—</span> },
    { key: "from", title: t("有效期起"), width: "110px", cell: (o) => o.valid_from },
    { key: "to", title: t("有效期止"), width: "110px", cell: (o) => o.valid_to },
    { key: "ok", title: t("今日可否办案"), width: "130px", cell: (o) => (o.certified ? <span className="status good"><CheckCircleOutlined />{t("证件有效")}</span> : <span className="status warn"><ExclamationCircleOutlined />{t("证件无效")}</span>) },
    ...(may("device:write") ? [{ key: "pin", title: t("采集站 PIN"), width: "100px", cell: (o: Officer) => <Button size="small" onClick={() => void newPin(o)} aria-label={t("为 {{name}} 新发 PIN", { name: o.name })}>{t("新发")}</Button> }] : []),
  ];
  return (
    <>
      <PageHead title={t("执法人员")} meta={rows.length ? t("已载入 {{n}} 人", { n: rows.length }) + (q.hasNextPage ? "＋" : "") : undefined}><CopyLink /></PageHead>
      <div className="filters">
        <TownshipFilter value={s.township} onChange={(township) => set({ township })} />
        <TextFilter value={s.q} onChange={setText} placeholder={t("姓名、执法证号")} />
        <ClearFilters active={filtered} onClear={() => void navigate({ to: "/officers", search: {} })} />
      </div>
      {q.error && <div className="body"><ProblemView error={q.error} retry={() => void q.refetch()} /></div>}
      {q.isPending ? <div className="body"><Skeleton active paragraph={{ rows: 8 }} /></div> : !q.error && <VirtualTable label={t("执法人员")} rows={rows} columns={columns} rowKey={(o) => o.id} rowHeight={38} minWidth={820} total={q.hasNextPage ? -1 : rows.length + 1} onEnd={more} empty={<Empty icon={<IdcardOutlined />} title={t("没有符合的执法人员")} />} />}
    </>
  );
}
