// Messages and manifests that were refused, with the reason; nothing is dropped unseen.
import { MailOutlined } from "@ant-design/icons";
import { useInfiniteQuery } from "@tanstack/react-query";
import { Button, Skeleton } from "antd";
import { useTranslation } from "react-i18next";
import { client, unwrap } from "../api/client";
import { bytes, dateTime } from "../lib/format";
import { Empty, PageHead, ProblemView } from "../ui/parts";

export function DeadLetters() {
  const { t } = useTranslation();
  const q = useInfiniteQuery({
    queryKey: ["dead-letters"],
    initialPageParam: "",
    queryFn: ({ pageParam, signal }) => unwrap(client.GET("/api/v1/dead-letters", { params: { query: { limit: 100, cursor: pageParam || undefined } }, signal })),
    getNextPageParam: (p) => p.next_cursor || undefined,
  });
  const rows = q.data?.pages.flatMap((p) => p.items) ?? [];
  return (
    <>
      <PageHead title={t("拒收报文")} meta={t("设备与采集站发来、但没有通过检查的报文")} />
      <div className="body">
        {q.error ? <ProblemView error={q.error} retry={() => void q.refetch()} /> : q.isPending ? <Skeleton active /> : (
          <div className="card scrollx" tabIndex={0} role="region" aria-label={t("拒收报文")}>
            {rows.length === 0 ? <Empty icon={<MailOutlined />} title={t("没有拒收的报文")}><p>{t("这是正常的样子。")}</p></Empty> : (
              <table className="plain"><thead><tr><th>{t("时间")}</th><th>{t("来源")}</th><th>{t("主题")}</th><th>{t("原因")}</th><th className="num">{t("大小")}</th></tr></thead>
                <tbody>{rows.map((d) => <tr key={d.id}><td className="nowrap">{dateTime(d.time)}</td><td>{d.source}</td><td className="mono">{d.topic ?? "—"}</td><td>{d.reason}</td><td className="num">{bytes(d.size)}</td></tr>)}</tbody></table>
            )}
            {q.hasNextPage && <div style={{ padding: 8, textAlign: "center" }}><Button loading={q.isFetchingNextPage} onClick={() => void q.fetchNextPage()}>{t("载入更多")}</Button></div>}
          </div>
        )}
      </div>
    </>
  );
}
