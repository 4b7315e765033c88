// What is over its retention: until when it can still be kept, and what has gone, each with its certificate.
import { DeleteOutlined, FieldTimeOutlined } from "@ant-design/icons";
import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { Button, Segmented, Skeleton } from "antd";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap, type Evidence } from "../api/client";
import { useMay } from "../app/session";
import { bytes, dateTime } from "../lib/format";
import { TownshipFilter } from "../ui/filters";
import { CopyLink, Empty, PageHead, ProblemView } from "../ui/parts";
import { AskKeep, categoryName } from "./keep";

export function RetentionPage() {
  const { t } = useTranslation();
  const may = useMay();
  const s = useSearch({ from: "/inside/retention" });
  const navigate = useNavigate();
  const [keep, setKeep] = useState<Evidence>();
  const gone = !!s.gone;
  const q = useInfiniteQuery({
    queryKey: ["retention", gone, s.township],
    initialPageParam: "",
    queryFn: ({ pageParam, signal }) => {
      const params = { query: { township: s.township, limit: 100, cursor: pageParam || undefined } };
      return unwrap(gone ? client.GET("/api/v1/retention/deleted", { params, signal }) : client.GET("/api/v1/retention/due", { params, signal }));
    },
    getNextPageParam: (p) => p.next_cursor || undefined,
  });
  const rows = q.data?.pages.flatMap((p) => p.items) ?? [];
  return (
    <>
      <PageHead title={t("到期清理")} meta={t("留存期满的先公示，期间可以保留；之后销毁并出具凭证。从不为腾空间删除。")}><CopyLink /></PageHead>
      <div className="filters">
        <TownshipFilter value={s.township} onChange={(township) => void navigate({ to: "/retention", search: { ...s, township }, replace: true })} />
        <Segmented aria-label={t("状态")} value={gone ? "gone" : "due"} options={[{ value: "due", label: t("公示中") }, { value: "gone", label: t("已销毁") }]}
          onChange={(v) => void navigate({ to: "/retention", search: { ...s, gone: v === "gone" || undefined }, replace: true })} />
      </div>
      <div className="body">
        {q.error ? <ProblemView error={q.error} retry={() => void q.refetch()} /> : q.isPending ? <Skeleton active /> : (
          <div className="card scrollx" tabIndex={0} role="region" aria-label={t("到期清理")}>
            {rows.length === 0 ? (gone
              ? <Empty icon={<DeleteOutlined />} title={t("还没有销毁过影像")}><p>{t("销毁的影像会列在这里，各有凭证。")}</p></Empty>
              : <Empty icon={<FieldTimeOutlined />} title={t("没有到期的影像")}><p>{t("永久留存、保全中和受限的影像不会到期；到期的会先在这里公示。")}</p></Empty>) : (
              <table className="plain">
                <thead><tr><th>{t("文件")}</th><th>{t("乡镇")}</th><th>{t("留存类别")}</th><th>{t("封存时间")}</th><th>{t("留存至")}</th><th>{gone ? t("销毁时间") : t("销毁不早于")}</th><th className="num">{t("大小")}</th><th>{gone ? t("凭证") : t("操作")}</th></tr></thead>
                <tbody>{rows.map((d) => (
                  <tr key={d.evidence.id}>
                    <td><Link to="/evidence/$id" params={{ id: d.evidence.id }} search={{}}>{d.evidence.file_name}</Link><div className="sub">{d.evidence.id}</div></td>
                    <td className="nowrap">{d.evidence.township_name}</td>
                    <td>{t(categoryName(d.evidence.category))}</td>
                    <td className="nowrap">{dateTime(d.evidence.sealed_at)}</td>
                    <td className="nowrap">{dateTime(d.evidence.retain_until)}</td>
                    <td className="nowrap">{gone ? (d.gone_at ? dateTime(d.gone_at) : t("等存储确认")) : dateTime(d.due_at)}</td>
                    <td className="num nowrap">{bytes(d.evidence.size)}</td>
                    <td className="nowrap">{gone
                      ? <Link to="/evidence/$id" params={{ id: d.evidence.id }} search={{}}>{t("销毁凭证")}</Link>
                      : may("retention:write") ? <Button size="small" onClick={() => setKeep(d.evidence)}>{t("保留…")}</Button> : <span className="dim">—</span>}</td>
                  </tr>
                ))}</tbody>
              </table>
            )}
            {q.hasNextPage && <div style={{ padding: 8, textAlign: "center" }}><Button loading={q.isFetchingNextPage} onClick={() => void q.fetchNextPage()}>{t("载入更多")}</Button></div>}
          </div>
        )}
      </div>
      {keep && <AskKeep e={keep} what="keep" onClose={() => setKeep(undefined)} />}
    </>
  );
}
