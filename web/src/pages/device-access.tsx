// What a device comes in by, and what it is told to do.
import { KeyOutlined, SendOutlined, StopOutlined } from "@ant-design/icons";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { App, Button, Form, Input, InputNumber, Modal, Select, Skeleton } from "antd";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap, type Device, type Schemas } from "../api/client";
import { useMay } from "../app/session";
import { count, dateTime } from "../lib/format";
import { useNow } from "../lib/live";
import { Card, CopyText, Empty, ProblemView } from "../ui/parts";

export function DeviceAccess({ d }: { d: Device }) {
  const { t } = useTranslation();
  const may = useMay();
  const now = useNow(60_000);
  const [revoking, setRevoking] = useState(false);
  const { modal, message } = App.useApp();
  const cache = useQueryClient();
  const code = useMutation({
    mutationFn: () => unwrap(client.POST("/api/v1/devices/{id}/enrolment-code", { params: { path: { id: d.id } } })),
    onSuccess: (c) => {
      void cache.invalidateQueries({ queryKey: ["devices"] });
      modal.info({
        title: t("{{serial}} 的登记码", { serial: d.serial }), okText: t("知道了"),
        content: <><p className="mono" style={{ fontSize: 22, margin: "8px 0" }}>{c.code} <CopyText text={c.code} label={t("复制登记码")} /></p><p>{t("有效至 {{time}}，只能用一次。", { time: dateTime(c.expires_at) })}</p><p className="sub">{t("只显示这一次，请输入设备；原来的登记码已作废。设备登记后，原来的证书和令牌一并作废。")}</p></>,
      });
    },
    onError: (err) => void message.error(err.message),
  });
  const a = d.access;
  if (!a) return null;
  const over = !!a.certificate_until && Date.parse(a.certificate_until) < now;
  const gone = d.status === "lost" || d.status === "retired";
  const none = !a.token && !a.code_until && (!a.certificate_until || over || !!a.revoked_at);
  return (
    <Card title={t("接入")} acts={may("device:write") && <>
      <Button size="small" icon={<KeyOutlined />} disabled={gone} loading={code.isPending} onClick={() => code.mutate()}>{t("登记码")}</Button>
      <Button size="small" danger icon={<StopOutlined />} disabled={none} onClick={() => setRevoking(true)}>{t("吊销…")}</Button>
    </>}>
      <dl className="facts">
        <dt>{t("证书")}</dt>
        <dd>{!a.certificate_until ? t("还没有") : a.revoked_at ? <span className="status bad">{t("已于 {{time}} 吊销：{{why}}", { time: dateTime(a.revoked_at), why: a.revoke_reason ?? "—" })}</span>
          : over ? <span className="status bad">{t("已于 {{time}} 过期，须重新登记", { time: dateTime(a.certificate_until) })}</span>
          : <>{dateTime(a.certificate_from)} — {dateTime(a.certificate_until)} <span className="sub">{t("设备自行续期")}</span></>}</dd>
        {a.token && <><dt>{t("令牌")}</dt><dd>{t("有效；能用证书的设备请改用证书")}</dd></>}
        {a.code_until && <><dt>{t("登记码")}</dt><dd>{t("已发出、尚未使用，有效至 {{time}}", { time: dateTime(a.code_until) })}</dd></>}
        {none && <><dt>{t("说明")}</dt><dd className="sub">{gone ? t("遗失或报废的设备不能接入。") : t("这台设备现在不能接入。请发一个登记码，并在 72 小时内输入设备。")}</dd></>}
        {a.refused_today > 0 && <><dt>{t("今日拒收")}</dt><dd><span className="status warn">{t("{{n}} 条报文没有通过检查", { n: count(a.refused_today) })}</span></dd></>}
      </dl>
      {revoking && <Revoke d={d} onClose={() => setRevoking(false)} />}
    </Card>
  );
}

function Revoke({ d, onClose }: { d: Device; onClose: () => void }) {
  const { t } = useTranslation();
  const cache = useQueryClient();
  const act = useMutation({
    mutationFn: ({ reason }: { reason: string }) => unwrap(client.POST("/api/v1/devices/{id}/revoke", { params: { path: { id: d.id } }, body: { reason } })),
    onSuccess: async () => {
      await cache.invalidateQueries({ queryKey: ["devices"] });
      onClose();
    },
  });
  return (
    <Modal open title={t("吊销 {{serial}} 的接入", { serial: d.serial })} footer={null} onCancel={onClose} destroyOnHidden>
      <p className="sub" style={{ marginBottom: 12 }}>{t("证书、令牌和登记码立即作废，连接随即断开；理由入册，不能撤回。要再接入，须发新的登记码。")}</p>
      <Form layout="vertical" onFinish={(v: { reason: string }) => act.mutate(v)}>
        <Form.Item name="reason" label={t("理由")} rules={[{ required: true, whitespace: true, min: 2, max: 200, message: t("2 到 200 字") }]}><Input.TextArea rows={3} maxLength={200} showCount /></Form.Item>
        {act.error && <ProblemView error={act.error} />}
        <div className="row" style={{ justifyContent: "flex-end", marginTop: 16 }}><Button onClick={onClose}>{t("取消")}</Button><Button danger type="primary" htmlType="submit" loading={act.isPending}>{t("吊销")}</Button></div>
      </Form>
    </Modal>
  );
}

type Kind = Schemas["CommandKind"];
const kinds: Record<Kind, string> = { locate: "定位", lock: "锁定", "sync-clock": "校时", config: "配置" };
const states: Record<Schemas["Command"]["state"], [string, string]> = {
  waiting: ["待发出", "dim"], sent: ["已发出，未应答", ""], accepted: ["设备已接受", ""], done: ["已完成", "good"], refused: ["设备拒绝", "bad"], expired: ["已过期", "warn"],
};

export function Commands({ d }: { d: Device }) {
  const { t } = useTranslation();
  const may = useMay();
  const [giving, setGiving] = useState(false);
  const q = useQuery({ queryKey: ["devices", d.id, "commands"], queryFn: ({ signal }) => unwrap(client.GET("/api/v1/devices/{id}/commands", { params: { path: { id: d.id } }, signal })), refetchInterval: 5000 });
  const rows = q.data?.items ?? [];
  return (
    <Card title={t("指令")} flush acts={may("device:write") && <Button size="small" icon={<SendOutlined />} onClick={() => setGiving(true)}>{t("下达指令…")}</Button>}>
      {q.error ? <ProblemView error={q.error} retry={() => void q.refetch()} /> : q.isPending ? <div className="in"><Skeleton active /></div> : rows.length === 0 ? (
        <Empty icon={<SendOutlined />} title={t("还没有下达过指令")}><p>{t("定位、锁定、校时、配置：设备在线即发，离线则等它上线，过期作罢。")}</p></Empty>
      ) : (
        <div className="scrollx" tabIndex={0} role="region" aria-label={t("指令")}>
          <table className="plain"><thead><tr><th className="num">{t("序号")}</th><th>{t("指令")}</th><th>{t("状态")}</th><th>{t("设备答复")}</th><th>{t("理由")}</th><th>{t("下达")}</th><th>{t("有效至")}</th></tr></thead>
            <tbody>{rows.map((c) => {
              const [word, look] = states[c.state];
              return <tr key={c.id}><td className="num">{c.id}</td><td className="nowrap">{t(kinds[c.command])}</td><td className="nowrap"><span className={`status ${look}`}>{t(word)}</span></td>
                <td>{c.answer ?? "—"}{c.answered_at && <div className="sub nowrap">{dateTime(c.answered_at)}</div>}</td><td>{c.reason}</td><td className="nowrap">{dateTime(c.given_at)}</td><td className="nowrap">{dateTime(c.expires_at)}</td></tr>;
            })}</tbody></table>
        </div>
      )}
      {giving && <Give d={d} onClose={() => setGiving(false)} />}
    </Card>
  );
}

function readArgs(text: string): Record<string, unknown> | undefined {
  try {
    const v: unknown = JSON.parse(text);
    return typeof v === "object" && v !== null && !Array.isArray(v) ? (v as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

type Order = { command: Kind; minutes: number; reason: string; args?: string };

function Give({ d, onClose }: { d: Device; onClose: () => void }) {
  const { t } = useTranslation();
  const cache = useQueryClient();
  const [form] = Form.useForm<Order>();
  const command = Form.useWatch("command", form);
  const act = useMutation({
    mutationFn: (v: Order) => unwrap(client.POST("/api/v1/devices/{id}/commands", { params: { path: { id: d.id } }, body: { command: v.command, minutes: v.minutes, reason: v.reason, args: v.command === "config" ? readArgs(v.args ?? "") : undefined } })),
    onSuccess: async () => {
      await cache.invalidateQueries({ queryKey: ["devices", d.id, "commands"] });
      onClose();
    },
  });
  return (
    <Modal open title={t("向 {{serial}} 下达指令", { serial: d.serial })} footer={null} onCancel={onClose} destroyOnHidden>
      <p className="sub" style={{ marginBottom: 12 }}>{t("指令由平台签名，下达与办结各成一页，连同您的账号。")}</p>
      <Form form={form} layout="vertical" initialValues={{ command: "locate", minutes: 1440 }} onFinish={(v) => act.mutate(v)}>
        <Form.Item name="command" label={t("指令")} rules={[{ required: true }]}><Select options={(Object.keys(kinds) as Kind[]).map((k) => ({ value: k, label: t(kinds[k]) }))} /></Form.Item>
        {command === "config" && <Form.Item name="args" label={t("配置内容（JSON 对象，至多 4 KiB，写法见厂家说明）")} rules={[{ required: true, validator: (_, v?: string) => v && v.length <= 4096 && readArgs(v) ? Promise.resolve() : Promise.reject(new Error(t("应为 JSON 对象，至多 4 KiB"))) }]}><Input.TextArea rows={4} className="mono" spellCheck={false} maxLength={4096} placeholder='{"bitrate": 4000}' /></Form.Item>}
        <Form.Item name="minutes" label={t("几分钟内有效")} rules={[{ required: true, type: "integer", min: 1, max: 43200, message: t("1 到 43200 分钟（三十天）") }]}><InputNumber min={1} max={43200} precision={0} style={{ width: 160 }} /></Form.Item>
        <Form.Item name="reason" label={t("理由")} rules={[{ required: true, whitespace: true, min: 2, max: 200, message: t("2 到 200 字") }]}><Input.TextArea rows={3} maxLength={200} showCount /></Form.Item>
        {act.error && <ProblemView error={act.error} />}
        <div className="row" style={{ justifyContent: "flex-end", marginTop: 16 }}><Button onClick={onClose}>{t("取消")}</Button><Button type="primary" htmlType="submit" loading={act.isPending}>{t("下达")}</Button></div>
      </Form>
    </Modal>
  );
}
