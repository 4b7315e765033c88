// One case file: where it stands, who handles it, its exhibits, and the bundle to hand over.
import { ExportOutlined, PlusOutlined, PrinterOutlined } from "@ant-design/icons";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { App, Button, Form, Input, Modal, QRCode, Steps } from "antd";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap, type Case, type Exhibit } from "../api/client";
import { useMay } from "../app/session";
import { activityWords } from "../lib/activities";
import { bytes, dateOnly, dateTime, groups, parseYuan, shortTime, yuan } from "../lib/format";
import { useTitle } from "../lib/title";
import { Card, CopyLink, Empty, EvidenceStatus, HoldState, LeafLink, Loaded, ProblemView } from "../ui/parts";
import { Deadline } from "./cases";
import { Poster } from "./evidence";
import { PickEvidence } from "./pick-evidence";

export function CasePage() {
  const { id } = useParams({ from: "/inside/cases/$id" });
  const q = useQuery({
    queryKey: ["cases", id],
    queryFn: ({ signal }) => unwrap(client.GET("/api/v1/cases/{id}", { params: { path: { id } }, signal })),
    refetchInterval: (query) => (query.state.data?.exhibits?.some((x) => x.hold_state === "pending" || x.status === "pending") ? 2000 : false),
  });
  return <Loaded q={q}>{(c) => <File c={c} />}</Loaded>;
}

const course = ["filed", "investigation", "review", "notice", "decision", "execution", "closed"];
const names: Record<string, string> = { filed: "立案", investigation: "调查取证", review: "法制审核", notice: "告知", decision: "处罚决定", execution: "执行", closed: "结案" };

function File({ c }: { c: Case }) {
  const { t } = useTranslation();
  const may = useMay();
  const navigate = useNavigate();
  const { message } = App.useApp();
  const [add, setAdd] = useState(false);
  const [next, setNext] = useState<{ stage: string; name: string }>();
  const [off, setOff] = useState<Exhibit>();
  useTitle(c.number);
  const at = course.indexOf(c.stage);
  const exhibits = c.exhibits ?? [];
  // acts within a stage (evidence linked) carry its code too: the first one after another stage entered it
  const when = (stage: string) => (c.acts ?? []).filter((a, i, all) => a.stage === stage && all[i - 1]?.stage !== stage).pop()?.time;
  return (
    <>
      <div className="head">
        <div className="grow">
          <div className="row wrap"><h1>{c.title}</h1>{c.mode_name && <span className="tag">{t(c.mode_name)}</span>}<span className="tag">{t(c.stage_name)}</span>{c.open && <Deadline c={c} />}</div>
          <div className="sub">{c.number} · {c.power_item_name} · {c.township_name}{c.officers?.length ? ` · ${t("承办")} ${c.officers.map((o) => `${o.name} ${o.certificate}`).join("、")}` : ""}</div>
        </div>
        <div className="acts">
          <CopyLink />
          <Button icon={<PrinterOutlined />} onClick={() => print()}>{t("打印卷宗目录")}</Button>
          {may("evidence:export") && (exhibits.length > 0
            ? <a href={`/api/v1/cases/${encodeURIComponent(c.id)}/bundle`} download onClick={() => void message.info(t("证据包开始下载；导出记入每份证据的保管链"))} className="btn primary" role="button"><ExportOutlined aria-hidden /> {t("导出证据包", { context: "act" })}</a>
            : <Button type="primary" icon={<ExportOutlined />} disabled title={t("案件还没有证据")}>{t("导出证据包", { context: "act" })}</Button>)}
        </div>
      </div>
      <div className="card" style={{ borderRadius: 0, borderWidth: "0 0 1px", padding: "16px 16px 12px" }}>
        {at >= 0 ? <Steps size="small" titlePlacement="vertical" current={at} status={c.open ? "process" : "finish"} items={course.map((s) => ({ title: t(names[s] ?? s), content: when(s) ? dateOnly(when(s)).slice(5) : undefined }))} /> : <b>{t(c.stage_name)}</b>}
      </div>
      <div className="body">
        <div className="grid2">
          <div className="stack">
            <Card flush title={t("证据")} meta={t("{{n}} 件", { n: exhibits.length })} acts={may("case:write") && c.open && <Button icon={<PlusOutlined />} onClick={() => setAdd(true)}>{t("添加")}</Button>}>
              {exhibits.length === 0 ? <Empty title={t("还没有证据")}><p>{t("从证据库添加，并写明每件证据的证明目的。")}</p></Empty> : (
                <div className="scrollx" tabIndex={0} role="region" aria-label={t("证据")}><table className="plain exhibits">
                  <thead><tr><th>#</th><th>{t("影像")}</th><th>{t("文件与证明目的")}</th><th>{t("状态")}</th><th>{t("保全")}</th><th><span className="visually-hidden">{t("操作")}</span></th></tr></thead>
                  <tbody>{exhibits.map((x, i) => (
                    <tr key={x.evidence_id}>
                      <td>{x.number ?? i + 1}</td>
                      <td><Poster e={{ id: x.evidence_id, status: x.status, has_poster: x.has_poster ?? false, media: { playable: x.verdict === "ok", verdict: x.verdict ?? "unknown", duration_ms: x.duration_ms } }} /></td>
                      <td><Link to="/evidence/$id" params={{ id: x.evidence_id }} search={{}} style={{ overflowWrap: "anywhere" }}>{x.file_name}</Link>{x.size !== undefined && <span className="sub"> · {bytes(x.size)}</span>}<div>{t("证明目的：{{p}}", { p: x.purpose })}</div><div className="mono dim" style={{ overflowWrap: "anywhere" }}>{groups(x.sha256)}</div><div className="sub">{x.linked_by_name} {shortTime(x.linked_at)}</div></td>
                      <td><EvidenceStatus e={{ status: x.status }} /></td>
                      <td><HoldState s={x.hold_state} /></td>
                      <td className="noprint">{may("case:write") && c.open && <Button size="small" onClick={() => setOff(x)} aria-label={t("解除关联 {{name}}", { name: x.file_name })}>{t("解除")}</Button>}</td>
                    </tr>
                  ))}</tbody>
                </table></div>
              )}
            </Card>
            {(c.summary || c.place || c.decision || c.fine_fen !== undefined) && <Card title={t("案情")}><dl className="facts">
              <dt>{t("行为发生日期")}</dt><dd>{c.occurred_on ?? "—"}</dd>
              {c.place && <><dt>{t("地点")}</dt><dd>{c.place}</dd></>}
              {c.summary && <><dt>{t("简要情况")}</dt><dd>{c.summary}</dd></>}
              {c.decision && <><dt>{t("决定")}</dt><dd>{c.decision}</dd></>}
              {c.fine_fen !== undefined && <><dt>{t("罚款")}</dt><dd>{yuan(c.fine_fen)} {t("元")}</dd></>}
            </dl></Card>}
          </div>
          <div className="stack">
            {may("case:write") && c.open && !!c.next_stages?.length && <div className="noprint"><Card title={t("下一步")}><div className="row wrap">{c.next_stages.map((n) => <Button key={n.stage} onClick={() => setNext(n)}>{t("进入“{{name}}”", { name: t(n.name) })}</Button>)}</div></Card></div>}
            <Activities id={c.id} />
            <Card title={t("承办人员")}><dl className="facts">{c.officers?.map((o) => <div key={o.id} style={{ display: "contents" }}><dt>{o.name}</dt><dd>{t("执法证")} {o.certificate}{o.unit && <div className="sub">{o.unit}</div>}</dd></div>)}</dl></Card>
            {c.frozen && <Card title={t("证据固定")} meta={t("处罚决定之后证据不再增减（R16）")}>
              <div className="row" style={{ gap: 16, alignItems: "flex-start" }}>
                <div role="img" aria-label={t("证据根与公钥指纹的二维码")}><QRCode value={c.frozen.mark} size={132} bordered={false} color="#000000" bgColor="#ffffff" errorLevel="M" /></div>
                <dl className="facts grow"><dt>{t("证据根")}</dt><dd className="mono">{groups(c.frozen.root)}</dd><dt>{t("公钥指纹")}</dt><dd className="mono">{groups(c.frozen.key)}</dd></dl>
              </div>
              <p className="sub" style={{ marginTop: 8 }}>{t("扫出的文字可与证据包核对：")}<span className="mono">zhizheng-verify --trust vkey --qr "…" {t("证据包")}.zip</span></p>
            </Card>}
            <Card title={t("时间线")} meta={t("有册页号的可验")}>
              <ol className="tl">{[...(c.acts ?? [])].reverse().map((a, i) => <li key={`${a.time}-${i}`}><span className="dot" aria-hidden>·</span><div><b>{a.note || t(a.stage_name)}</b><div className="sub">{t(a.stage_name)} · {a.actor_name} · {dateTime(a.time)}</div></div><LeafLink index={a.leaf_index} /></li>)}</ol>
            </Card>
          </div>
        </div>
      </div>
      {add && <PickEvidence c={c} onClose={() => setAdd(false)} />}
      {next && <Advance c={c} to={next} onClose={() => setNext(undefined)} />}
      {off && <Unlink c={c} x={off} onClose={() => setOff(undefined)} onDone={() => void navigate({ to: "/cases/$id", params: { id: c.id } })} />}
    </>
  );
}

/** What officers set out to do for the case. Quiet where there is nothing. */
function Activities({ id }: { id: string }) {
  const { t } = useTranslation();
  const q = useQuery({ queryKey: ["activities", "case", id], queryFn: ({ signal }) => unwrap(client.GET("/api/v1/activities", { params: { query: { case_id: id, limit: 200 } }, signal })) });
  if (q.error) return <Card title={t("执法活动")}><ProblemView error={q.error} retry={() => void q.refetch()} /></Card>;
  if (!q.data?.items.length) return null;
  return (
    <Card title={t("执法活动")} meta={t("{{n}} 项", { n: q.data.total })}><dl className="facts">{q.data.items.map((a) => (
      <div key={a.id} style={{ display: "contents" }}><dt>{a.day}</dt><dd><Link to="/activities/$id" params={{ id: a.id }}>{a.title}</Link> <span className="sub">{t(activityWords[a.kind])} · {t("{{n}} 段", { n: a.clip_count })}{a.cancelled_at ? ` · ${t("已取消")}` : ""}</span></dd></div>
    ))}</dl></Card>
  );
}

function Advance({ c, to, onClose }: { c: Case; to: { stage: string; name: string }; onClose: () => void }) {
  const { t } = useTranslation();
  const queries = useQueryClient();
  const act = useMutation({
    mutationFn: (v: { note?: string; decision?: string; fine?: string }) => unwrap(client.POST("/api/v1/cases/{id}/stage", { params: { path: { id: c.id } }, body: { stage: to.stage, note: v.note || undefined, decision: v.decision || undefined, fine_fen: v.fine ? parseYuan(v.fine) : undefined } })),
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: ["cases"] });
      onClose();
    },
  });
  const deciding = to.stage === "decision";
  return (
    <Modal open title={t("进入“{{name}}”", { name: t(to.name) })} footer={null} onCancel={onClose} destroyOnHidden>
      <Form layout="vertical" onFinish={(v: { note?: string; decision?: string; fine?: string }) => act.mutate(v)}>
        {deciding && <Form.Item name="decision" label={t("决定内容")} rules={[{ required: true, whitespace: true, message: t("请写明决定") }]}><Input.TextArea rows={3} maxLength={1000} /></Form.Item>}
        {deciding && <Form.Item name="fine" label={t("罚款（元，没有可不填）")} rules={[{ validator: (_, v?: string) => (!v || (parseYuan(v) ?? -1) >= 0 ? Promise.resolve() : Promise.reject(new Error(t("金额如 1200 或 1200.50")))) }]}><Input inputMode="decimal" style={{ width: 200 }} suffix={t("元")} /></Form.Item>}
        <Form.Item name="note" label={t("说明")}><Input.TextArea rows={2} maxLength={1000} /></Form.Item>
        {act.error && <ProblemView error={act.error} />}
        <div className="row" style={{ justifyContent: "flex-end", marginTop: 16 }}><Button onClick={onClose}>{t("取消")}</Button><Button type="primary" htmlType="submit" loading={act.isPending}>{t("确定")}</Button></div>
      </Form>
    </Modal>
  );
}

function Unlink({ c, x, onClose, onDone }: { c: Case; x: Exhibit; onClose: () => void; onDone: () => void }) {
  const { t } = useTranslation();
  const queries = useQueryClient();
  const act = useMutation({
    mutationFn: ({ reason }: { reason: string }) => unwrap(client.POST("/api/v1/cases/{id}/evidence/{evidence_id}/unlink", { params: { path: { id: c.id, evidence_id: x.evidence_id } }, body: { reason } })),
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: ["cases"] });
      onClose();
      onDone();
    },
  });
  return (
    <Modal open title={t("解除关联")} footer={null} onCancel={onClose} destroyOnHidden>
      <p className="sub" style={{ marginBottom: 12 }}>{t("证据本身不变，解除的理由记入保管链。")}</p>
      <Form layout="vertical" onFinish={(v: { reason: string }) => act.mutate(v)}>
        <Form.Item name="reason" label={t("理由")} rules={[{ required: true, whitespace: true, min: 2, message: t("2 到 200 字") }]}><Input.TextArea rows={2} maxLength={200} /></Form.Item>
        {act.error && <ProblemView error={act.error} />}
        <div className="row" style={{ justifyContent: "flex-end", marginTop: 16 }}><Button onClick={onClose}>{t("取消")}</Button><Button danger type="primary" htmlType="submit" loading={act.isPending}>{t("解除关联")}</Button></div>
      </Form>
    </Modal>
  );
}
