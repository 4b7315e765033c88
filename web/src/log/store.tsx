import { CheckCircleOutlined, WarningOutlined } from "@ant-design/icons";
import { useQuery } from "@tanstack/react-query";
import { Skeleton } from "antd";
import { useTranslation } from "react-i18next";
import { client, unwrap } from "../api/client";
import { bytes } from "../lib/format";
import { Card, ProblemView } from "../ui/parts";

/** What the store was seen to do when it was probed, and for how long it will do. */
export function StoreCard() {
  const { t } = useTranslation();
  const q = useQuery({ queryKey: ["system"], refetchInterval: 60_000, queryFn: ({ signal }) => unwrap(client.GET("/api/v1/system", { signal })) });
  const s = q.data?.store;
  const label = q.data?.store_label;
  return (
    <Card title={t("存储")} meta={t("从不为腾空间删除")}>
      {q.error ? <ProblemView error={q.error} /> : !s ? <Skeleton active paragraph={{ rows: 2 }} title={false} /> : (
        <dl className="facts">
          <dt>{t("存储核对")}</dt>
          <dd>{label === "attested" ? <span className="status good"><CheckCircleOutlined />{t("已证实：写入时逐片核对，封存不必重读")}</span>
            : label === "re-read required" ? <span className="status warn"><WarningOutlined />{t("不能证实：封存前重读全部字节")}</span>
              : <span className="status bad"><WarningOutlined />{t("不可信：对象锁没有守住")}</span>}</dd>
          <dt>{t("已用")}</dt><dd>{bytes(s.kept_bytes)}</dd>
          <dt>{t("剩余空间")}</dt><dd>{s.full ? <span className="status bad"><WarningOutlined />{t("已满，拒绝新影像")}</span> : s.free_bytes === undefined ? <span className="dim">{t("未知，可配置存储容量")}</span> : bytes(s.free_bytes)}</dd>
          <dt>{t("每天增加")}</dt><dd>{bytes(s.daily_bytes)} <span className="sub">{t("近 14 天平均")}</span></dd>
          <dt>{t("还可用")}</dt>
          <dd>{s.days_left === undefined ? <span className="dim">—</span> : s.days_left <= 90 ? <span className={`status ${s.days_left <= 7 ? "bad" : "warn"}`}><WarningOutlined />{t("{{n}} 天", { n: s.days_left })}</span> : t("{{n}} 天", { n: s.days_left })}</dd>
        </dl>
      )}
    </Card>
  );
}
