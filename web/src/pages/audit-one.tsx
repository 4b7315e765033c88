// One run that audited, re-read, tried or drilled: what was done and what came of it, on a page that prints.
import { CheckCircleOutlined, CloseCircleOutlined, PrinterOutlined } from "@ant-design/icons";
import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { Button, Progress } from "antd";
import { useTranslation } from "react-i18next";
import { client, unwrap } from "../api/client";
import { dateTime, duration } from "../lib/format";
import { logQuery } from "../lib/live";
import { runKind, runMeasure, RunState, type Run } from "../log/runs";
import { Card, CopyLink, LeafLink, Loaded, PageHead } from "../ui/parts";

export function AuditPage() {
  const { id } = useParams({ from: "/inside/log/audits/$id" });
  const q = useQuery({
    queryKey: ["audits", id],
    queryFn: ({ signal }) => unwrap(client.GET("/api/v1/log/audits/{id}", { params: { path: { id } }, signal })),
    refetchInterval: (x) => (x.state.data?.state === "running" && !x.state.data.paused ? 1000 : false),
  });
  return <Loaded q={q}>{(r) => <Detail r={r} />}</Loaded>;
}

function Detail({ r }: { r: Run }) {
  const { t } = useTranslation();
  const l = useQuery(logQuery).data;
  return (
    <>
      <PageHead title={t(runKind(r.kind))} meta={<RunState r={r} />}>
        <CopyLink />
        <Button icon={<PrinterOutlined />} onClick={() => print()}>{t("打印")}</Button>
      </PageHead>
      <div className="body">
        <Card title={t("结果")}>
          <dl className="facts">
            <dt>{t("开始")}</dt><dd>{dateTime(r.started_at)}</dd>
            <dt>{t("用时")}</dt><dd>{r.ended_at ? duration(Date.parse(r.ended_at) - Date.parse(r.started_at)) : "—"}</dd>
            <dt>{t("由")}</dt><dd>{r.actor === "system" ? t("定时") : r.actor_name}</dd>
            {runMeasure(r, t) && <><dt>{t("数量")}</dt><dd>{runMeasure(r, t)}</dd></>}
            <dt>{t("结论")}</dt><dd>{r.text || "—"}</dd>
            {r.leaf_index !== undefined && <><dt>{t("册页")}</dt><dd><LeafLink index={r.leaf_index} /></dd></>}
            {l && <><dt>{t("来源名")}</dt><dd>{l.origin}</dd></>}
          </dl>
          {r.state === "running" && r.total_objects > 0 && <Progress aria-label={t("进度")} percent={Math.floor((r.done_objects / r.total_objects) * 100)} />}
        </Card>
        {!!r.findings?.length && <Card flush title={t("不符之处")} meta={t("共 {{n}} 处", { n: r.finding_count })}>
          <div className="scrollx" tabIndex={0} role="region" aria-label={t("不符之处")}><table className="plain"><thead><tr><th>{t("位置")}</th><th>{t("说明")}</th></tr></thead><tbody>{r.findings.map((f, i) => (
            <tr key={i}><td className="mono">{f.evidence_id ? <Link to="/evidence/$id" params={{ id: f.evidence_id }} search={{}}>{f.where}</Link> : f.where}</td><td>{f.what}</td></tr>
          ))}</tbody></table></div>
        </Card>}
        {!!r.steps?.length && <Card flush title={r.kind === "drill" ? t("逐项篡改与发现") : t("过程")}>
          <div className="scrollx" tabIndex={0} role="region" aria-label={t("过程")}><table className="plain"><thead><tr><th>{t("做了什么")}</th><th>{t("结果")}</th><th>{r.kind === "drill" ? t("由何处发现") : t("答复")}</th></tr></thead><tbody>{r.steps.map((s) => (
            <tr key={s.name}><td>{t(s.text)}</td><td className="nowrap">{s.ok ? <span className="status good"><CheckCircleOutlined />{r.kind === "drill" ? t("识破") : t("通过")}</span> : <span className="status bad"><CloseCircleOutlined />{r.kind === "drill" ? t("没有发现") : t("没有通过")}</span>}</td><td className="mono" style={{ overflowWrap: "anywhere" }}>{s.got}</td></tr>
          ))}</tbody></table></div>
        </Card>}
      </div>
    </>
  );
}
