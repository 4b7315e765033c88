import { CheckCircleOutlined, CloseCircleOutlined, InboxOutlined } from "@ant-design/icons";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Button, Input, Progress, Skeleton } from "antd";
import { useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap, type Evidence } from "../api/client";
import { bytes, count, dateTime } from "../lib/format";
import { kindName } from "../lib/kinds";
import { useHash } from "../lib/useHash";
import { Card, EvidenceStatus, LeafLink, ProblemView } from "../ui/parts";

/** "Is this file in the log?", answered on this machine: only its digest leaves it. */
export function FindFile() {
  const { t } = useTranslation();
  const { state, start, cancel } = useHash();
  const [name, setName] = useState("");
  const [typed, setTyped] = useState("");
  const [over, setOver] = useState(false);
  const file = useRef<HTMLInputElement>(null);
  const wanted = state.at === "done" ? state.sha256 : /^[0-9a-f]{64}$/.test(typed) ? typed : undefined;
  const q = useQuery({ queryKey: ["evidence", "by-digest", wanted], enabled: wanted !== undefined, queryFn: async ({ signal }) => (await unwrap(client.GET("/api/v1/evidence", { params: { query: { sha256: wanted, limit: 10 } }, signal }))).items });
  const take = (f: File | undefined) => {
    if (!f) return;
    setTyped("");
    setName(f.name);
    start({ file: f });
  };
  return (
    <Card title={t("查一个文件")} meta={t("只在本机计算摘要，文件不上传")}>
      <div className={`drop ${over ? "over" : ""}`} onDragOver={(e) => { e.preventDefault(); setOver(true); }} onDragLeave={() => setOver(false)} onDrop={(e) => { e.preventDefault(); setOver(false); take(e.dataTransfer.files[0]); }}>
        <InboxOutlined style={{ fontSize: 28, color: "var(--t3)" }} aria-hidden />
        <p><b>{t("把文件拖到这里")}</b>　<Button size="small" onClick={() => file.current?.click()}>{t("选择文件")}</Button></p>
        <input ref={file} type="file" hidden aria-label={t("选择文件")} onChange={(e) => { take(e.target.files?.[0]); e.target.value = ""; }} />
        <Input aria-label="SHA-256" placeholder={t("或粘贴 SHA-256")} value={typed} maxLength={80} style={{ maxWidth: 520, marginTop: 12 }} className="mono" onChange={(e) => { cancel(); setName(""); setTyped(e.target.value.replace(/\s/g, "").toLowerCase()); }} />
      </div>
      <div aria-live="polite" style={{ marginTop: 12 }}>
        {state.at === "running" && <div className="row"><Progress aria-label={t("校验进度")} percent={state.total ? Math.floor((state.done / state.total) * 100) : 0} size="small" className="grow" /><Button size="small" onClick={cancel}>{t("停止")}</Button></div>}
        {state.at === "failed" && <ProblemView error={state.error} />}
        {wanted && q.isPending && <Skeleton active paragraph={{ rows: 1 }} title={false} />}
        {wanted && q.error && <ProblemView error={q.error} />}
        {wanted && q.data && (q.data.length > 0 ? q.data.map((e) => (
          <div key={e.id} style={{ marginBottom: 8 }}><span className="status good"><CheckCircleOutlined />{t("在册")}</span> <b>{name || e.file_name}</b> {state.at === "done" && <span className="sub">{bytes(state.size)} · {t("{{s}} 秒", { s: (state.ms / 1000).toFixed(1) })}</span>}
            <div className="row wrap"><Link to="/evidence/$id" params={{ id: e.id }} search={{}}>{e.file_name}</Link><EvidenceStatus e={e} /><span className="sub">{t("指纹入册")} {dateTime(e.registered_at)}</span></div><Pages id={e.id} /></div>
        )) : <div><span className="status bad"><CloseCircleOutlined />{t("不在册")}</span> <b>{name}</b><p className="sub">{t("您能看到的范围内没有这个摘要：内容已改动、另有来源或不在您的乡镇，不作判断。")}</p></div>)}
      </div>
    </Card>
  );
}

/** The leaves that prove it, and how: fingerprint, sealing, readings. */
function Pages({ id }: { id: Evidence["id"] }) {
  const { t } = useTranslation();
  const q = useQuery({ queryKey: ["evidence", id], queryFn: ({ signal }) => unwrap(client.GET("/api/v1/evidence/{id}", { params: { path: { id } }, signal })) });
  const proving = q.data?.leaves?.filter((l) => l.kind === 1 || (l.kind >= 10 && l.kind <= 12)) ?? [];
  const sealed = proving.find((l) => l.kind === 10) ?? proving[0];
  const leaf = useQuery({ queryKey: ["leaf", sealed?.index], enabled: sealed !== undefined, queryFn: ({ signal }) => unwrap(client.GET("/api/v1/log/leaves/{index}", { params: { path: { index: sealed!.index } }, signal })) });
  return (
    <dl className="facts" style={{ marginTop: 4 }}>
      <dt>{t("册页")}</dt><dd className="row wrap">{proving.map((l) => <span key={l.index}><LeafLink index={l.index} /> <span className="sub">{t(kindName(l.kind, l.kind_name))} · {dateTime(l.time)}</span></span>)}</dd>
      <dt>{t("证明")}</dt><dd>{leaf.data?.proof_steps !== undefined ? t("包含证明 {{n}} 步，存证点 {{size}} 页", { n: leaf.data.proof_steps, size: count(leaf.data.tree_size) }) : t("等下一个存证点")}{sealed?.kind === 10 && <> · <a href={`/api/v1/evidence/${encodeURIComponent(id)}/receipt`} download>{t("下载回执")}</a></>}</dd>
    </dl>
  );
}
