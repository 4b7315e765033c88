import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { Button, Input, Skeleton } from "antd";
import { useEffect, useRef } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap } from "../api/client";
import { count, dateTime, groups } from "../lib/format";
import { kindName } from "../lib/kinds";
import { Card, LeafLink, ProblemView } from "../ui/parts";

/** The leaves, newest first; the one in the address is marked and told in detail. */
export function Leaves({ size }: { size: number }) {
  const { t } = useTranslation();
  const { at } = useSearch({ from: "/inside/log" });
  const navigate = useNavigate();
  const q = useInfiniteQuery({
    queryKey: ["leaves", at ?? size],
    initialPageParam: at !== undefined ? String(at + 10) : "",
    queryFn: ({ pageParam, signal }) => unwrap(client.GET("/api/v1/log/leaves", { params: { query: { limit: 50, cursor: pageParam || undefined } }, signal })),
    getNextPageParam: (p) => p.next_cursor || undefined,
    placeholderData: (old) => old,
  });
  const rows = q.data?.pages.flatMap((p) => p.items) ?? [];
  const mark = useRef<HTMLTableRowElement>(null);
  const found = rows.some((r) => r.index === at);
  useEffect(() => {
    if (found) mark.current?.scrollIntoView({ block: "center" });
  }, [found, at]);
  return (
    <Card title={t("册页")} meta={t("新的在前；只列种类、时间和散列，内容受各自权限保护")} flush acts={<Input.Search aria-label={t("按页码查找")} placeholder={t("页码")} style={{ width: 150 }} allowClear onSearch={(v) => { const n = Number(v.replace(/[,，\s]/g, "")); void navigate({ to: "/log", search: v && Number.isInteger(n) && n >= 0 ? { at: n } : {} }); }} />}>
      {at !== undefined && <LeafDetail index={at} />}
      {q.error ? <div className="in"><ProblemView error={q.error} retry={() => void q.refetch()} /></div> : q.isPending ? <div className="in"><Skeleton active /></div> : (
        <div className="scrollx" tabIndex={0} role="region" aria-label={t("册页")} style={{ maxHeight: 520, overflowY: "auto" }}><table className="plain leaves">
          <thead><tr><th className="num">{t("页码")}</th><th>{t("种类")}</th><th>{t("时间")}</th><th>{t("散列")}</th></tr></thead>
          <tbody>{rows.map((l) => <tr key={l.index}  ref={l.index === at ? mark : undefined} className={l.index === at ? "marked" : ""} aria-current={l.index === at ? "true" : undefined}><td className="num"><LeafLink index={l.index} short /></td><td>{t(kindName(l.kind, l.kind_name))}</td><td className="nowrap">{dateTime(l.time)}</td><td className="mono" style={{ overflowWrap: "anywhere" }}>{l.hash}</td></tr>)}</tbody>
        </table></div>
      )}
      {q.hasNextPage && <div style={{ padding: 8, textAlign: "center" }}><Button size="small" loading={q.isFetchingNextPage} onClick={() => void q.fetchNextPage()}>{t("更早的页")}</Button></div>}
    </Card>
  );
}

function LeafDetail({ index }: { index: number }) {
  const { t, i18n } = useTranslation();
  const q = useQuery({ queryKey: ["leaf", index], queryFn: ({ signal }) => unwrap(client.GET("/api/v1/log/leaves/{index}", { params: { path: { index } }, signal })) });
  if (q.error) return <div className="in"><ProblemView error={q.error} /></div>;
  if (!q.data) return <div className="in"><Skeleton active paragraph={{ rows: 2 }} title={false} /></div>;
  const l = q.data;
  return (
    <div className="in" style={{ borderBottom: "1px solid var(--line)", background: "var(--subtle)" }}>
      <dl className="facts" aria-label={t("第 {{n}} 页", { n: count(index) })}>
        <dt>{t("第 {{n}} 页", { n: count(index) })}</dt><dd>{(i18n.language === "en" ? l.sentence_en : l.sentence) ?? t(kindName(l.kind, l.kind_name))}{l.erased && <span className="tag" style={{ marginLeft: 8 }}>{t("内容已依法删除，证明不受影响")}</span>}</dd>
        <dt>{t("时间")}</dt><dd>{dateTime(l.time)}</dd>
        <dt>{t("主题链")}</dt><dd><span className="mono">{l.subject}</span> · {t("第 {{n}} 环", { n: count(l.counter) })}</dd>
        <dt>{t("散列")}</dt><dd className="mono">{groups(l.hash)}</dd>
        <dt>{t("前一环")}</dt><dd className="mono">{l.previous ? groups(l.previous) : "—"}</dd>
        <dt>{t("承诺")}</dt><dd className="mono">{groups(l.commitment)}</dd>
        <dt>{t("证明")}</dt><dd>{l.proof_steps !== undefined ? t("包含证明 {{n}} 步，存证点 {{size}} 页", { n: l.proof_steps, size: count(l.tree_size) }) : t("等下一个存证点")}</dd>
      </dl>
    </div>
  );
}

