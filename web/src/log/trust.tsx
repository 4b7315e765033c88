import { CheckCircleOutlined, ClockCircleOutlined, CloseCircleOutlined, DownloadOutlined, UploadOutlined, WarningOutlined } from "@ant-design/icons";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { App, Button } from "antd";
import { useRef } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap, type Schemas } from "../api/client";
import { useMay } from "../app/session";
import { ago, count, dateTime, groups } from "../lib/format";
import { useNow } from "../lib/live";
import { Card, CopyText, LeafLink } from "../ui/parts";

type State = Schemas["LogState"];

/** Who stands behind the log: witnesses, trusted time, what devices say is missing, its checkpoint and keys. */
export function Trust({ l }: { l: State }) {
  const { t } = useTranslation();
  return (
    <>
      <Witnesses l={l} />
      <Timestamps l={l} />
      {l.gaps && <Card title={t("设备链")} meta={t("{{n}} 把签名密钥", { n: count(l.gaps.keys) })}>
        <dl className="facts">
          <dt>{t("缺失")}</dt><dd>{l.gaps.missing > 0 ? <span className="status bad"><WarningOutlined />{t("{{gaps}} 处共 {{n}} 段从未到达", { gaps: count(l.gaps.open_gaps), n: count(l.gaps.missing) })}</span> : <span className="status good"><CheckCircleOutlined />{t("没有缺失的计数")}</span>}</dd>
          <dt>{t("推断缺失")}</dt><dd>{count(l.gaps.inferred)} <span className="sub">{t("按文件名编号推断")}</span></dd>
          <dt>{t("影像待传")}</dt><dd>{count(l.gaps.pending)}</dd>
        </dl>
      </Card>}
      <Card title={t("最新存证点")} acts={<CopyText text={l.checkpoint} label={t("复制存证点")} />}>
        <pre className="note" tabIndex={0}>{l.checkpoint || "—"}</pre>
        {l.copied_size !== undefined && <p className="sub" style={{ marginTop: 8 }}>{t("锁定副本已到第 {{n}} 页", { n: count(l.copied_size) })} · {dateTime(l.copied_at)}</p>}
      </Card>
      <Card title={t("公钥")} acts={<CopyText text={l.vkeys.join("\n")} label={t("复制公钥")} />}>
        <dl className="facts"><dt>{t("来源名")}</dt><dd>{l.origin}</dd>{l.vkeys.map((k) => <div key={k} style={{ display: "contents" }}><dt>{t("校验公钥")}</dt><dd className="mono">{k}</dd></div>)}<dt>{t("树根")}</dt><dd className="mono">{groups(l.root)}</dd></dl>
        <p className="sub" style={{ marginTop: 12 }}>{t("公钥要从平台以外的渠道核对。离线校验：")}</p>
        <pre className="note" style={{ marginTop: 4 }} tabIndex={0}>zhizheng-verify --trust zhizheng-vkey.txt {t("证据包")}.zip</pre>
      </Card>
    </>
  );
}

function save(name: string, bytes: BlobPart) {
  const a = document.createElement("a");
  a.href = URL.createObjectURL(new Blob([bytes]));
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 10_000);
}

/** A button that takes a small file. */
function TakeFile({ label, onFile, busy }: { label: string; onFile: (f: File) => void; busy: boolean }) {
  const input = useRef<HTMLInputElement>(null);
  return <><Button size="small" icon={<UploadOutlined />} loading={busy} onClick={() => input.current?.click()}>{label}</Button><input ref={input} type="file" hidden aria-label={label} onChange={(e) => { const f = e.target.files?.[0]; e.target.value = ""; if (f) onFile(f); }} /></>;
}

function useTaken() {
  const queries = useQueryClient();
  const { message } = App.useApp();
  const { t } = useTranslation();
  return {
    onSuccess: async () => {
      void message.success(t("已导入"));
      await queries.invalidateQueries({ queryKey: ["log"] });
    },
    onError: (e: Error) => void message.error(e.message),
  };
}

function Witnesses({ l }: { l: State }) {
  const { t, i18n } = useTranslation();
  const now = useNow(5000);
  const may = useMay();
  const { message } = App.useApp();
  const taken = useTaken();
  const all = l.witnesses ?? [];
  const q = l.quorum;
  const ask = useMutation({ mutationFn: (witness: string) => unwrap(client.POST("/api/v1/log/witness-request", { body: { witness } })), onSuccess: (f) => save(f.file_name, f.text), onError: (e) => void message.error(e.message) });
  const bring = useMutation({ mutationFn: async (f: File) => unwrap(client.POST("/api/v1/log/cosignatures", { body: { text: await f.text() } })), ...taken });
  return (
    <Card title={t("见证方")} meta={q && q.need > 0 ? t("门限 {{need}} / {{of}}", { need: q.need, of: q.of }) : undefined} acts={may("log:admin") && all.length > 0 && <TakeFile label={t("导入见证签名")} busy={bring.isPending} onFile={(f) => bring.mutate(f)} />}>
      {all.length === 0 ? <p className="sub">{t("没有配置见证方：日志是否只有一份，目前只能由持有旧存证点的人核对。")}</p> : <>
        {q && <p style={{ marginBottom: 8 }}>{q.met ? <span className="status good"><CheckCircleOutlined />{t("够数，第 {{n}} 页为止", { n: count(q.size) })}</span> : <span className="status warn"><ClockCircleOutlined />{t("尚未达到门限")}</span>}{q.at && <span className="sub"> · {ago(q.at, now, i18n.language === "en")}</span>}</p>}
        <ul className="steps">{all.map((w) => (
          <li key={w.name}>
            <span className="grow">{w.name}<span className="sub"> · {w.size > 0 ? t("{{n}} 页", { n: count(w.size) }) : t("还没有签过")}{w.at && ` · ${ago(w.at, now, i18n.language === "en")}`}</span>{w.error && w.state !== "signed" && <span className="sub"> · {w.error}</span>}</span>
            <WitnessState s={w.state} />
            {may("log:admin") && <Button size="small" type="text" icon={<DownloadOutlined />} aria-label={t("导出给 {{name}} 的请求文件", { name: w.name })} onClick={() => ask.mutate(w.name)} />}
          </li>
        ))}</ul>
      </>}
    </Card>
  );
}

function WitnessState({ s }: { s: Schemas["Witness"]["state"] }) {
  const { t } = useTranslation();
  switch (s) {
    case "signed": return <span className="status good"><CheckCircleOutlined />{t("已签")}</span>;
    case "behind": return <span className="status warn"><ClockCircleOutlined />{t("落后")}</span>;
    case "unreachable": return <span className="status warn"><WarningOutlined />{t("联系不上")}</span>;
    default: return <span className="status bad"><CloseCircleOutlined />{t("拒签")}</span>;
  }
}

function Timestamps({ l }: { l: State }) {
  const { t } = useTranslation();
  const may = useMay();
  const { message } = App.useApp();
  const taken = useTaken();
  const all = l.timestamps ?? [];
  const ask = useMutation({ mutationFn: () => unwrap(client.POST("/api/v1/log/timestamp-request")), onSuccess: (f) => save(f.file_name, Uint8Array.from(atob(f.der), (c) => c.charCodeAt(0))), onError: (e) => void message.error(e.message) });
  const bring = useMutation({
    mutationFn: async (f: File) => unwrap(client.POST("/api/v1/log/timestamps", { body: { der: btoa(Array.from(new Uint8Array(await f.arrayBuffer()), (b) => String.fromCharCode(b)).join("")) } })),
    ...taken,
  });
  return (
    <Card title={t("可信时间戳")} acts={may("log:admin") && <><Button size="small" icon={<DownloadOutlined />} loading={ask.isPending} onClick={() => ask.mutate()}>{t("导出请求")}</Button><TakeFile label={t("导入时间戳")} busy={bring.isPending} onFile={(f) => bring.mutate(f)} /></>}>
      {all.length === 0 ? <p className="sub">{t("没有配置时间戳机构：册页的时间只是平台时钟的说法。")}</p> : <ul className="steps">{all.map((s) => (
        <li key={s.authority}>
          <span className="grow" style={{ overflowWrap: "anywhere" }}>{s.authority === "carried" ? t("人工送签") : s.authority}<span className="sub"> · {s.gen_time ? dateTime(s.gen_time) : t("还没有取得")}</span>{s.error && s.state !== "ok" && <span className="sub"> · {s.error}</span>}</span>
          {s.state === "ok" ? <span className="status good"><CheckCircleOutlined />{t("有效")}</span> : s.state === "late" ? <span className="status warn"><ClockCircleOutlined />{t("逾期")}</span> : <span className="status bad"><CloseCircleOutlined />{t("未取得")}</span>}
          <LeafLink index={s.leaf} />
        </li>
      ))}</ul>}
    </Card>
  );
}
