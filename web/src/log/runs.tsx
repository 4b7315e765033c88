import { AlertOutlined, CheckCircleOutlined, ClockCircleOutlined, CloseCircleOutlined, ExperimentOutlined, PauseCircleOutlined, SyncOutlined, WarningOutlined } from "@ant-design/icons";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { App, Button, Form, Input, Modal, Progress, Skeleton, Tooltip } from "antd";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap, type Schemas } from "../api/client";
import { useMay } from "../app/session";
import { bytes, count, dateTime, duration, shortTime } from "../lib/format";
import { Card, Empty, ProblemView } from "../ui/parts";

export type Run = Schemas["AuditRun"];
export type RunKind = Run["kind"];

const kinds: Record<RunKind, string> = { log: "全册重算", reread: "影像重读", canary: "锁定试探", drill: "自证演练" };

export const runKind = (k: RunKind): string => kinds[k];

/** What a run came to, by word and icon. */
export function RunState({ r }: { r: Run }) {
  const { t } = useTranslation();
  if (r.state === "running") return r.paused ? <span className="status warn"><PauseCircleOutlined />{t("已暂停")}</span> : <span className="status"><SyncOutlined spin />{t("进行中")}</span>;
  if (r.state === "ok") return <span className="status good"><CheckCircleOutlined />{t(r.kind === "log" ? "根一致" : r.kind === "reread" ? "摘要一致" : r.kind === "canary" ? "有效" : "全部识破")}</span>;
  if (r.state === "findings") return <span className="status bad"><CloseCircleOutlined />{t("{{n}} 处不符", { n: count(r.finding_count) })}</span>;
  if (r.state === "failed") return <span className="status warn"><WarningOutlined />{t("没有结果")}</span>;
  return <span className="status warn"><WarningOutlined />{t("中断")}</span>;
}

export const runMeasure = (r: Run, t: (s: string, o?: Record<string, unknown>) => string): string => {
  if (r.kind === "log") return t("{{n}} 页", { n: count(r.done_objects) });
  if (r.kind === "reread") return `${t("{{n}} 件", { n: count(r.done_objects) })} · ${bytes(r.done_bytes)}`;
  return r.kind === "drill" && r.state === "running" ? t("{{done}} / {{of}} 种", { done: r.done_objects, of: r.total_objects }) : "";
};

/** Asks again while something is under way. */
export function useRuns() {
  return useQuery({
    queryKey: ["audits"],
    queryFn: ({ signal }) => unwrap(client.GET("/api/v1/log/audits", { params: { query: { limit: 50 } }, signal })),
    refetchInterval: (q) => (q.state.data?.items.some((r) => r.state === "running" && !r.paused) ? 1000 : 30_000),
  });
}

export function useStart() {
  const queries = useQueryClient();
  const { message } = App.useApp();
  return useMutation({
    mutationFn: (kind: RunKind) => unwrap(client.POST("/api/v1/log/audits", { body: { kind } })),
    onSuccess: () => queries.invalidateQueries({ queryKey: ["audits"] }),
    onError: (e) => void message.error(e.message),
  });
}

/** The runs, newest first; canaries that held are left to their own card. */
export function Runs() {
  const { t } = useTranslation();
  const may = useMay();
  const q = useRuns();
  const start = useStart();
  const queries = useQueryClient();
  const { message } = App.useApp();
  const hold = useMutation({
    mutationFn: ({ r, on }: { r: Run; on: boolean }) => unwrap(client.POST(on ? "/api/v1/log/audits/{id}/pause" : "/api/v1/log/audits/{id}/resume", { params: { path: { id: r.id } } })),
    onSuccess: () => queries.invalidateQueries({ queryKey: ["audits"] }),
    onError: (e) => void message.error(e.message),
  });
  const rows = q.data?.items.filter((r) => r.kind !== "canary" || r.state === "findings").slice(0, 12) ?? [];
  const busy = (k: RunKind) => q.data?.items.some((r) => r.kind === k && r.state === "running");
  return (
    <Card flush title={t("核验记录")} meta={t("每次的结果都是一页")} acts={may("log:audit") && <>
      <Button size="small" disabled={busy("log")} loading={start.isPending && start.variables === "log"} onClick={() => start.mutate("log")}>{t("全册重算")}</Button>
      <Button size="small" disabled={busy("reread")} loading={start.isPending && start.variables === "reread"} onClick={() => start.mutate("reread")}>{t("重读影像")}</Button>
    </>}>
      {q.error ? <div className="in"><ProblemView error={q.error} retry={() => void q.refetch()} /></div> : q.isPending ? <div className="in"><Skeleton active paragraph={{ rows: 3 }} title={false} /></div>
        : rows.length === 0 ? <Empty title={t("还没有核验记录")}><p>{t("每天定时全册重算，影像封存后随即重读；也可以现在开始。")}</p></Empty> : (
          <div className="scrollx" tabIndex={0} role="region" aria-label={t("核验记录")}><table className="plain runs">
            <thead><tr><th>{t("时间")}</th><th>{t("种类")}</th><th>{t("数量")}</th><th>{t("结果")}</th><th className="num">{t("用时")}</th></tr></thead>
            <tbody>{rows.map((r) => (
              <tr key={r.id}>
                <td className="nowrap"><Link to="/log/audits/$id" params={{ id: r.id }}>{shortTime(r.started_at)}</Link></td>
                <td className="nowrap">{t(kinds[r.kind])}<div className="sub">{r.actor === "system" ? t("定时") : r.actor_name}</div></td>
                <td>{runMeasure(r, t)}{r.state === "running" && r.total_bytes > 0 && <Progress aria-label={t("进度")} size="small" percent={Math.floor((r.done_bytes / r.total_bytes) * 100)} />}</td>
                <td><RunState r={r} />{r.state === "running" && r.kind === "reread" && may("log:admin") && <Button size="small" type="link" onClick={() => hold.mutate({ r, on: !r.paused })}>{r.paused ? t("继续") : t("暂停")}</Button>}</td>
                <td className="num nowrap">{r.ended_at ? duration(Date.parse(r.ended_at) - Date.parse(r.started_at)) : "—"}</td>
              </tr>
            ))}</tbody>
          </table></div>
        )}
    </Card>
  );
}

/** The last try on the store's locks, step by step. */
export function CanaryCard({ last }: { last?: Run }) {
  const { t } = useTranslation();
  const may = useMay();
  const start = useStart();
  const q = useQuery({ queryKey: ["audits", last?.id], enabled: !!last, queryFn: ({ signal }) => unwrap(client.GET("/api/v1/log/audits/{id}", { params: { path: { id: last!.id } }, signal })) });
  return (
    <Card title={t("锁定试探")} meta={t("对一个已锁定对象真做一次")} acts={may("log:audit") && <Button size="small" loading={start.isPending} onClick={() => start.mutate("canary")}>{t("现在试")}</Button>}>
      {!last ? <p className="sub">{t("还没有试过")}</p> : <>
        <div className="row wrap" style={{ marginBottom: 8 }}><RunState r={last} /><span className="sub">{dateTime(last.started_at)}</span></div>
        {q.error && <ProblemView error={q.error} />}
        <ul className="steps">{q.data?.steps?.map((s) => (
          <li key={s.name}>{s.ok ? <CheckCircleOutlined className="good" aria-label={t("守住")} /> : <CloseCircleOutlined className="bad" aria-label={t("没有守住")} />}<span className="grow">{s.text}</span><span className="mono dim">{s.got}</span></li>
        ))}</ul>
      </>}
    </Card>
  );
}

/** The drill: one button, a copy, eleven ways. */
export function DrillCard() {
  const { t } = useTranslation();
  const may = useMay();
  const q = useQuery({
    queryKey: ["audits", "drill"],
    queryFn: ({ signal }) => unwrap(client.GET("/api/v1/log/audits", { params: { query: { kind: "drill", limit: 1 } }, signal })),
    refetchInterval: (x) => (x.state.data?.items[0]?.state === "running" ? 500 : false),
  });
  const last = q.data?.items[0];
  const running = last?.state === "running";
  const detail = useQuery({ queryKey: ["audits", last?.id, last?.state], enabled: !!last && !running, queryFn: ({ signal }) => unwrap(client.GET("/api/v1/log/audits/{id}", { params: { path: { id: last!.id } }, signal })) });
  const start = useStart();
  return (
    <Card title={t("自证演练")} meta={last ? t("上次 {{when}}", { when: shortTime(last.started_at) }) : undefined}>
      <p style={{ marginBottom: 8 }}>{t("在副本上改字节、删册页、换影像、重签证据包……看校验能否逐一指出。真册不动，结果入册。")}</p>
      {q.error && <ProblemView error={q.error} />}
      {running && last && <div aria-live="polite"><Progress aria-label={t("演练进度")} size="small" percent={last.total_objects ? Math.floor((last.done_objects / last.total_objects) * 100) : 0} /><p className="sub">{last.text}</p></div>}
      {last && !running && <>
        <div className="row wrap" style={{ marginBottom: 8 }}><RunState r={last} /><span className="sub">{last.text}</span></div>
        <ul className="steps">{detail.data?.steps?.map((s) => (
          <li key={s.name}>{s.ok ? <CheckCircleOutlined className="good" aria-label={t("识破")} /> : <CloseCircleOutlined className="bad" aria-label={t("没有发现")} />}<Tooltip title={s.got}><span className="grow">{t(s.text)}</span></Tooltip></li>
        ))}</ul>
        <Link to="/log/audits/$id" params={{ id: last.id }}>{t("结果全文，可打印")}</Link>
      </>}
      {may("log:audit") && <div style={{ marginTop: 12 }}><Button type="primary" icon={<ExperimentOutlined />} disabled={running} loading={start.isPending} onClick={() => start.mutate("drill", { onSuccess: () => void q.refetch() })}>{last ? t("再演练一次") : t("开始演练")}</Button></div>}
    </Card>
  );
}

/** What somebody has to look at comes first on the page. */
export function Alarms() {
  const { t } = useTranslation();
  const may = useMay();
  const [at, setAt] = useState<Schemas["Alarm"]>();
  const q = useQuery({ queryKey: ["alarms"], refetchInterval: 10_000, queryFn: ({ signal }) => unwrap(client.GET("/api/v1/log/alarms", { params: { query: { open: true, limit: 50 } }, signal })) });
  if (q.error) return <ProblemView error={q.error} retry={() => void q.refetch()} />;
  if (!q.data?.items.length) return null;
  return (
    <section className="problem" aria-label={t("警报")}>
      <AlertOutlined aria-hidden />
      <div className="grow">
        <h3>{t("{{n}} 条警报待处理", { n: q.data.items.length })}</h3>
        <ul className="steps">{q.data.items.map((a) => (
          <li key={a.id}><ClockCircleOutlined aria-hidden /><span className="nowrap">{shortTime(a.at)}</span>
            <span className="grow">{a.text}{a.township_name && <span className="sub"> · {a.township_name}</span>}{a.evidence_id && <> · <Link to="/evidence/$id" params={{ id: a.evidence_id }} search={{}}>{t("证据")}</Link></>}{a.case_ids?.map((c) => <span key={c}> · <Link to="/cases/$id" params={{ id: c }}>{t("案件")}</Link></span>)}</span>
            {may("log:admin") && <Button size="small" onClick={() => setAt(a)}>{t("处理")}</Button>}</li>
        ))}</ul>
      </div>
      {at && <Acknowledge a={at} onClose={() => setAt(undefined)} />}
    </section>
  );
}

function Acknowledge({ a, onClose }: { a: Schemas["Alarm"]; onClose: () => void }) {
  const { t } = useTranslation();
  const queries = useQueryClient();
  const act = useMutation({
    mutationFn: ({ reason }: { reason: string }) => unwrap(client.POST("/api/v1/log/alarms/{id}/acknowledge", { params: { path: { id: a.id } }, body: { reason } })),
    onSuccess: async () => {
      await Promise.all([queries.invalidateQueries({ queryKey: ["alarms"] }), queries.invalidateQueries({ queryKey: ["log"] })]);
      onClose();
    },
  });
  return (
    <Modal open title={t("处理警报")} footer={null} onCancel={onClose} destroyOnHidden>
      <p style={{ marginBottom: 8 }}>{a.text}</p>
      <p className="sub" style={{ marginBottom: 12 }}>{t("写明核查的结果和去向；警报和处理都会保留。")}</p>
      <Form layout="vertical" onFinish={(v: { reason: string }) => act.mutate(v)}>
        <Form.Item name="reason" label={t("处理说明")} rules={[{ required: true, whitespace: true, min: 2, message: t("2 到 200 字") }]}><Input.TextArea rows={3} maxLength={200} /></Form.Item>
        {act.error && <ProblemView error={act.error} />}
        <div className="row" style={{ justifyContent: "flex-end", marginTop: 16 }}><Button onClick={onClose}>{t("取消")}</Button><Button type="primary" htmlType="submit" loading={act.isPending}>{t("确定")}</Button></div>
      </Form>
    </Modal>
  );
}
