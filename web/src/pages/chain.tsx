// What a signing key's own chain shows: clips that never arrived, what the signer states, what is odd. On the device's page, beside a
// record, and as a row between its neighbours in the library.
import { CheckCircleOutlined, ClockCircleOutlined, CloudUploadOutlined, DisconnectOutlined, ExclamationCircleOutlined, QuestionCircleOutlined, WarningOutlined } from "@ant-design/icons";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { App, Button, Form, Input, Modal } from "antd";
import { useState, type ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap, type Schemas } from "../api/client";
import { useMay } from "../app/session";
import { count, dateTime } from "../lib/format";
import { Card, Empty, LeafLink, ProblemView } from "../ui/parts";

type Gap = Schemas["ChainGap"];
type Key = Schemas["KeyChain"];
type Clip = Schemas["ChainClip"];
type Inferred = Schemas["InferredGap"];

export const span = (first: number, last: number) => (first === last ? String(first) : `${first}–${last}`);

export function useChain(device?: string, enabled = true) {
  return useQuery({
    queryKey: ["chain", device],
    queryFn: ({ signal }) => unwrap(client.GET("/api/v1/devices/{id}/chain", { params: { path: { id: device ?? "" } }, signal })),
    enabled: enabled && !!device,
    refetchInterval: 15_000,
    retry: false,
  });
}

/** Which counters: those still missing when some arrived late. */
function counters(g: Gap): string {
  return g.state !== "closed" && g.parts?.length ? g.parts.map((p) => span(p.first, p.last)).join("、") : span(g.first, g.last);
}

export function GapState({ g }: { g: Gap }) {
  const { t } = useTranslation();
  if (g.state === "closed") return <span className="status good"><CheckCircleOutlined />{t("已到齐")}</span>;
  if (g.state === "explained") return <span className="status warn"><ExclamationCircleOutlined />{t("已说明")}</span>;
  return <span className="status bad"><DisconnectOutlined />{t("缺失")}</span>;
}

function Beside({ c, which, short }: { c?: Clip; which: ReactNode; short?: boolean }) {
  const { t } = useTranslation();
  if (!c) return <span className="dim">{which}</span>;
  const name = (short ? undefined : c.file_name) ?? t("计数 {{n}}", { n: c.counter });
  return c.evidence_id ? <Link to="/evidence/$id" params={{ id: c.evidence_id }} search={{}}>{name}</Link> : <>{name}</>;
}

/** One gap, hatched, its counters written in it. */
export function GapBand({ g, device, acts = true, short }: { g: Gap; device?: string; acts?: boolean; short?: boolean }) {
  const { t } = useTranslation();
  const may = useMay();
  const [ask, setAsk] = useState(false);
  const late = g.state === "closed";
  return (
    <div className={`gap ${late ? "late" : ""}`} role="group" aria-label={t("缺失 {{n}}", { n: counters(g) })}>
      <b className="gapno">{late ? <CheckCircleOutlined aria-hidden /> : <DisconnectOutlined aria-hidden />} {late ? t("曾缺 {{n}}", { n: counters(g) }) : t("缺失 {{n}}", { n: counters(g) })}</b>
      <span className="grow">
        {late ? t("{{n}} 个计数已于 {{time}} 到齐", { n: count(g.last - g.first + 1), time: dateTime(g.closed_at) }) : t("{{n}} 个计数从未到达", { n: count(g.missing) })}
        {" · "}<Beside c={g.before} which={t("链的开头")} short={short} /> {t("与")} <Beside c={g.after} which={t("之后尚无")} short={short} /> {t("之间")}
        {!late && <> · {t("由签名链确认（非推断）")}</>}
        {g.reason && <span className="sub"> · {t("说明：{{r}}", { r: g.reason })}{g.explained_by ? ` —— ${g.explained_by} ${dateTime(g.explained_at)}` : ""} <LeafLink index={g.leaf_index} /></span>}
      </span>
      {acts && !late && device && may("gap:write") && <Button size="small" className="noprint" onClick={() => setAsk(true)}>{g.reason ? t("改写说明…") : t("说明原因…")}</Button>}
      {ask && device && <Explain g={g} device={device} onClose={() => setAsk(false)} />}
    </div>
  );
}

function Explain({ g, device, onClose }: { g: Gap; device: string; onClose: () => void }) {
  const { t } = useTranslation();
  const { message } = App.useApp();
  const cache = useQueryClient();
  const [form] = Form.useForm<{ reason: string }>();
  const send = useMutation({
    mutationFn: (reason: string) => unwrap(client.POST("/api/v1/devices/{id}/chain/gaps", { params: { path: { id: device } }, body: { key_id: g.key_id, epoch: g.epoch, first: g.first, reason } })),
    onSuccess: () => {
      void cache.invalidateQueries({ queryKey: ["chain"] });
      void cache.invalidateQueries({ queryKey: ["evidence"] });
      void message.success(t("说明已入册"));
      onClose();
    },
  });
  return (
    <Modal open title={t("说明缺失 {{n}}", { n: counters(g) })} okText={t("确定")} cancelText={t("取消")} confirmLoading={send.isPending} onCancel={onClose} onOk={() => void form.validateFields().then((v) => send.mutate(v.reason), () => undefined)}>
      <p className="sub" style={{ marginBottom: 12 }}>{t("说明不会填补缺失：影像仍然没有到达，说明连同您的账号成为一页，不能撤回。")}</p>
      <Form form={form} layout="vertical" initialValues={{ reason: g.reason ?? "" }}>
        <Form.Item name="reason" label={t("理由")} rules={[{ required: true, min: 2, max: 200, message: t("2 到 200 字") }]}><Input.TextArea rows={3} maxLength={200} showCount /></Form.Item>
      </Form>
      {send.error && <ProblemView error={send.error} />}
    </Modal>
  );
}

/** What officers said at a station about any of the numbers. */
function GapReasons({ g }: { g: Inferred }) {
  const { t } = useTranslation();
  return <>{g.reasons?.map((r, i) => (
    <span key={i} style={{ display: "block" }}>{t("说明：{{r}}", { r: r.reason })}{r.first !== g.first || r.last !== g.last ? ` (${span(r.first, r.last)})` : ""} <span className="sub">—— {[r.officer_name, r.station, dateTime(r.at)].filter(Boolean).join(" · ")}</span> <LeafLink index={r.leaf_index} /></span>
  ))}</>;
}

function InferredLine({ g }: { g: Inferred }) {
  const { t } = useTranslation();
  return (
    <div className="gap inferred">
      <b className="gapno"><QuestionCircleOutlined aria-hidden /> {t("推断缺失 {{n}}", { n: span(g.first, g.last) })}</b>
      <span className="grow"><Link to="/evidence/$id" params={{ id: g.before_id }} search={{}}>{g.before_name}</Link> {t("与")} <Link to="/evidence/$id" params={{ id: g.after_id }} search={{}}>{g.after_name}</Link> {t("之间")} <span className="sub">· {t("只由文件名推断，不是证据")}</span><GapReasons g={g} /></span>
    </div>
  );
}

export function TailText({ tail }: { tail: Schemas["ChainTail"] }) {
  const { t } = useTranslation();
  if (!tail.at) return <span className="warn"><QuestionCircleOutlined /> {t("已知签到第 {{n}} 份，没有签名状态；之后不得而知", { n: count(tail.counter) })}</span>;
  return <span>{tail.closing ? <CheckCircleOutlined /> : <ClockCircleOutlined />} {tail.closing ? t("{{time}} 签名收尾：共 {{n}} 份；之后不得而知", { n: count(tail.counter), time: dateTime(tail.at) }) : t("{{time}} 签名：共 {{n}} 份；之后不得而知", { n: count(tail.counter), time: dateTime(tail.at) })}</span>;
}

function KeyCard({ k, device }: { k: Key; device: string }) {
  const { t } = useTranslation();
  const epoch = k.epochs[0];
  const odd = k.anomalies;
  const open = k.gaps.filter((g) => g.state !== "closed");
  const late = k.gaps.filter((g) => g.state === "closed");
  return (
    <Card title={k.own ? t("设备链：自己的密钥") : t("设备链：由采集站担保")} meta={<>{k.station_name || k.station} <span className="mono">{k.key_id.slice(0, 16)}…</span>{k.revoked_at && <span className="status bad"><WarningOutlined />{t("密钥已吊销")}</span>}</>}>
      <dl className="facts" style={{ marginBottom: open.length + late.length ? 12 : 0 }}>
        <dt>{t("已到达")}</dt><dd>{epoch ? <>{t("{{n}} 份清单", { n: count(k.epochs.reduce((n, e) => n + e.arrived, 0)) })}{epoch.ranges?.length ? <span className="sub"> · {t("计数")} {epoch.ranges.map((r) => span(r.first, r.last)).join("、")}</span> : null}</> : t("还没有清单")}</dd>
        <dt>{t("缺失")}</dt><dd>{open.length ? <span className="status bad"><DisconnectOutlined />{t("{{g}} 段，共 {{n}} 个计数", { g: open.length, n: count(open.reduce((n, g) => n + g.missing, 0)) })}</span> : <span className="status good"><CheckCircleOutlined />{k.own ? t("没有缺失") : t("本设备的影像之间没有缺失")}</span>}</dd>
        <dt>{t("链的末尾")}</dt><dd><TailText tail={k.tail} /></dd>
        {k.epochs.length > 1 && <><dt>{t("启动纪元")}</dt><dd>{t("{{n}} 个：计数曾重新开始", { n: k.epochs.length })}</dd></>}
      </dl>
      {[...open, ...late.slice(0, 5)].map((g) => <GapBand key={`${g.epoch}/${g.first}`} g={g} device={device} />)}
      {odd.length > 0 && (
        <div className="scrollx" style={{ marginTop: 12 }}>
          <table className="plain">
            <caption className="sub" style={{ textAlign: "left" }}>{t("异常，各入一页")}</caption>
            <thead><tr><th>{t("时间")}</th><th>{t("异常")}</th><th>{t("计数")}</th><th>{t("说明")}</th><th>{t("册页")}</th></tr></thead>
            <tbody>{odd.map((a, i) => <tr key={i}><td className="nowrap">{dateTime(a.at)}</td><td>{a.alarm ? <span className="status bad"><WarningOutlined />{t(a.what_name)}</span> : <span className="status"><ExclamationCircleOutlined />{t(a.what_name)}</span>}</td><td>{span(a.first, a.last)}</td><td className="mono">{a.detail}</td><td><LeafLink index={a.leaf_index} /></td></tr>)}</tbody>
          </table>
        </div>
      )}
      {k.states.length > 0 && (
        <details style={{ marginTop: 12 }}>
          <summary>{t("签名状态（最近 {{n}} 份）", { n: k.states.length })}</summary>
          <table className="plain">
            <thead><tr><th>{t("签署")}</th><th>{t("计数")}</th><th>{t("类型")}</th><th>{t("记录仪")}</th><th>{t("册页")}</th></tr></thead>
            <tbody>{k.states.map((s, i) => <tr key={i}><td className="nowrap">{dateTime(s.signed_at)}</td><td>{count(s.counter)}</td><td>{s.closing ? t("收尾") : t("定时")}</td><td>{s.recorder ?? "—"}</td><td><LeafLink index={s.leaf_index} /></td></tr>)}</tbody>
          </table>
        </details>
      )}
    </Card>
  );
}

/** The section of a device's page. */
export function DeviceChain({ device }: { device: string }) {
  const { t } = useTranslation();
  const q = useChain(device);
  if (q.error) return <Card title={t("设备链")}><ProblemView error={q.error} retry={() => void q.refetch()} /></Card>;
  if (!q.data) return null;
  const c = q.data;
  if (!c.keys.length && !c.pending.length && !c.inferred.length) {
    return <Card title={t("设备链")}><Empty icon={<DisconnectOutlined />} title={t("还没有签名清单")}><p>{t("这台设备的影像归站后，这里会列出哪些计数已到、哪些从未到达。")}</p></Empty></Card>;
  }
  return (
    <>
      {c.keys.map((k) => <KeyCard key={k.key_id} k={k} device={device} />)}
      {c.pending.length > 0 && (
        <Card title={t("影像待传")} meta={t("{{n}} 条", { n: c.pending.length })} flush>
          <table className="plain">
            <tbody>{c.pending.map((p) => <tr key={p.evidence_id}><td><span className="status warn"><CloudUploadOutlined />{t("{{time}} 的指纹，影像还没到", { time: dateTime(p.registered_at) })}</span></td><td><Link to="/evidence/$id" params={{ id: p.evidence_id }} search={{}}>{p.file_name}</Link></td></tr>)}</tbody>
          </table>
        </Card>
      )}
      {c.inferred.length > 0 && <Card title={t("推断缺失")} meta={t("只看文件名的编号；删除、改名都会造成，不作为报警")}>{c.inferred.map((g) => <InferredLine key={`${g.series}/${g.first}/${g.after_id}`} g={g} />)}</Card>}
    </>
  );
}

function Side({ clip, gap, inferred, end, device }: { clip?: Clip; gap?: Gap; inferred?: Inferred; end: string; device?: string }) {
  const { t } = useTranslation();
  return (
    <>
      {clip && <div className="row wrap"><span className="status good"><CheckCircleOutlined />{t("计数 {{n}} 已到", { n: clip.counter })}</span>{clip.evidence_id && clip.file_name && <span className="cut" title={clip.file_name}><Beside c={clip} which="" /></span>}</div>}
      {gap && <GapBand g={gap} device={device} acts={gap.state !== "closed"} short />}
      {!clip && !gap && <span className="dim">{end}</span>}
      {inferred && <div className="sub"><QuestionCircleOutlined aria-hidden /> {t("推断缺失 {{n}}", { n: span(inferred.first, inferred.last) })} · {t("只由文件名推断，不是证据")}<GapReasons g={inferred} /></div>}
    </>
  );
}

/** The section beside a record. */
export function CompletenessFacts({ c, device }: { c: Schemas["Completeness"]; device?: string }) {
  const { t } = useTranslation();
  const odd = c.anomalies.filter((a) => a.alarm);
  return (
    <dl className="facts">
      <dt>{t("签署")}</dt><dd>{c.own ? t("记录仪自己的密钥") : t("采集站 {{s}} 担保", { s: c.station_name ?? c.station ?? "" })}</dd>
      <dt>{t("计数")}</dt><dd>#{c.counter}{c.signed_at && <span className="sub"> {dateTime(c.signed_at)}</span>}</dd>
      <dt>{t("前一段")}</dt><dd><Side clip={c.previous} gap={c.gap_before} inferred={c.inferred_before} end={t("链的开头")} device={device ?? c.station} /></dd>
      <dt>{t("后一段")}</dt><dd><Side clip={c.next} gap={c.gap_after} inferred={c.inferred_after} end={t("之后尚无")} device={device ?? c.station} /></dd>
      <dt>{t("签署时间范围")}</dt>
      <dd>{c.not_before ? <>{t("不早于 {{time}}", { time: dateTime(c.not_before.at) })} <LeafLink index={c.not_before.leaf_index} /></> : <span className="dim">{t("清单没有写明见过的存证点，下限不明")}</span>}<div>{t("不晚于 {{time}}", { time: dateTime(c.not_after.at) })} <LeafLink index={c.not_after.leaf_index} /></div></dd>
      <dt>{t("链的末尾")}</dt><dd><TailText tail={c.tail} /></dd>
      {odd.length > 0 && <><dt>{t("异常")}</dt><dd>{odd.map((a, i) => <div key={i} className="status bad"><WarningOutlined />{t(a.what_name)} {span(a.first, a.last)} <LeafLink index={a.leaf_index} /></div>)}</dd></>}
    </dl>
  );
}
