// The chain of custody, newest act first on the screen; each act is a leaf.
import { AuditOutlined, BarcodeOutlined, CloudUploadOutlined, DownloadOutlined, ExportOutlined, EyeInvisibleOutlined, EyeOutlined, LinkOutlined, LockOutlined, PushpinOutlined, ReconciliationOutlined } from "@ant-design/icons";
import { useInfiniteQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Button, Skeleton } from "antd";
import { useMemo, type ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap } from "../api/client";
import { dateTime } from "../lib/format";
import { kindName } from "../lib/kinds";
import { LeafLink, ProblemView } from "../ui/parts";

const icons: Record<number, ReactNode> = {
  1: <BarcodeOutlined />, 10: <LockOutlined />, 11: <AuditOutlined />, 12: <AuditOutlined />, 13: <EyeOutlined />, 14: <DownloadOutlined />, 15: <ExportOutlined />, 16: <LinkOutlined />, 17: <LinkOutlined />,
  18: <PushpinOutlined />, 19: <PushpinOutlined />, 20: <PushpinOutlined />, 22: <EyeInvisibleOutlined />, 23: <CloudUploadOutlined />,
};

export function Custody({ id }: { id: string }) {
  const { t, i18n } = useTranslation();
  const q = useInfiniteQuery({
    queryKey: ["evidence", id, "custody"],
    initialPageParam: "",
    queryFn: ({ pageParam, signal }) => unwrap(client.GET("/api/v1/evidence/{id}/custody", { params: { path: { id }, query: { limit: 100, cursor: pageParam || undefined } }, signal })),
    getNextPageParam: (p) => p.next_cursor || undefined,
    refetchInterval: (query) => ((query.state.data?.pages.length ?? 0) <= 1 ? 10_000 : false),
  });
  const all = useMemo(() => (q.data?.pages.flatMap((p) => p.items) ?? []).slice().reverse(), [q.data]);
  if (q.error) return <ProblemView error={q.error} retry={() => void q.refetch()} />;
  if (q.isPending) return <Skeleton active paragraph={{ rows: 4 }} />;
  return (
    <>
      {q.hasNextPage && <p style={{ marginBottom: 8 }}><Button size="small" loading={q.isFetchingNextPage} onClick={() => void q.fetchNextPage()}>{t("还有更新的记录，继续载入")}</Button></p>}
      <ol className="tl" aria-label={t("保管链，新的在前")} reversed>
        {all.map((c) => (
          <li key={c.id}>
            <span className="dot" aria-hidden>{icons[c.kind] ?? <ReconciliationOutlined />}</span>
            <div style={{ minWidth: 0 }}>
              <b>{i18n.language === "en" ? t(kindName(c.kind, c.kind_name)) : (c.sentence ?? kindName(c.kind, c.kind_name))}</b>
              <div className="sub">{c.actor_name} · {dateTime(c.time)}</div>
              {c.reason && <div className="sub">{c.reason}</div>}
              {c.case_id && <Link className="sub" to="/cases/$id" params={{ id: c.case_id }} style={{ color: "var(--accent)" }}>{t("查看案件")}</Link>}
            </div>
            <LeafLink index={c.leaf_index} />
          </li>
        ))}
      </ol>
    </>
  );
}
