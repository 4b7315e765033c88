// The evidence log: its state, its key and checkpoint, its leaves, and "is this file in it?" answered on this machine.
import { CheckCircleOutlined, CloseCircleOutlined, InboxOutlined, WarningOutlined } from "@ant-design/icons";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { Button, Input, Progress, Skeleton } from "antd";
import { useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap, type Schemas } from "../api/client";
import { useMay } from "../app/session";
import { ago, bytes, count, dateTime, groups } from "../lib/format";
import { kindName } from "../lib/kinds";
import { logQuery, useNow } from "../lib/live";
import { useHash } from "../lib/useHash";
import { Card, CopyText, EvidenceStatus, Loaded, PageHead, ProblemView } from "../ui/parts";

export function LogPage() {
  const { t } = useTranslation();
  const may = useMay();
  const q = useQuery(logQuery);
  return (
    <>
      <PageHead title={t("证据册")} meta={q.data && (q.data.halted ? <span className="status bad"><WarningOutlined />{t("停签：{{why}}", { why: q.data.halted })}</span> : <span className="status good"><CheckCircleOutlined />{t("正常签署")}</span>)}>
        <a className="btn" href="/log/vkey" download="zhizheng-vkey.txt">{t("下载公钥")}</a>
        <a className="btn" href="/log/checkpoint" download="checkpoint.txt">{t("下载存证点")}</a>
      </PageHead>
      <Loaded q={q}>{(l) => (
        <div className="body">
          <Figures l={l} />
          <div className="grid2">
            <div className="stack">{may("evidence:read") && <FindFile />}<Leaves size={l.size} /></div>
            <div className="stack">
              <Card title={t("最新存证点")} acts={<CopyText text={l.checkpoint} label={t("复制存证点")} />}><pre className="note" tabIndex={0}>{l.checkpoint || "—"}</pre></Card>
              <Card title={t("公钥")} acts={<CopyText text={l.vkey} label={t("复制公钥")} />}>
                <dl className="facts"><dt>{t("来源名")}</dt><dd>{l.origin}</dd><dt>{t("校验公钥")}</dt><dd className="mono">{l.vkey}</dd><dt>{t("树根")}</dt><dd className="mono">{groups(l.root)}</dd></dl>
                <p className="sub" style={{ marginTop: 12 }}>{t("公钥要从平台以外的渠道核对。离线校验：")}</p>
                <pre className="note" style={{ marginTop: 4 }} tabIndex={0}>zhizheng-verify --trust zhizheng-vkey.txt {t("证据包")}.zip</pre>
              </Card>
            </div>
          </div>
        </div>
      )}</Loaded>
    </>
  );
}

function Figures({ l }: { l: Schemas["LogState"] }) {
  const { t, i18n } = useTranslation();
  const now = useNow(1000);
  const behind = l.signed_size !== undefined ? l.size - l.signed_size : undefined;
  return (
    <div className="card"><div className="figs">
      <div>{t("大小")}<b>{count(l.size)}</b><span className="sub">{t("页")}</span></div>
      <div>{t("已签到")}<b>{count(l.signed_size)}</b><span className="sub">{behind ? t("还有 {{n}} 页等下一个存证点", { n: count(behind) }) : t("全部已签")}</span></div>
      <div>{t("存证点")}<b>{ago(l.checkpoint_at, now, i18n.language === "en")}</b><span className="sub">{dateTime(l.checkpoint_at)}</span></div>
      <div>{t("存储")}<b style={{ fontSize: 16 }}>{l.store_label === "attested" ? t("已证实") : t("封存前重读")}</b><span className="sub">{l.store_label === "attested" ? t("独立客户端试过：锁定、覆盖、校验都有效") : t("存储没有证实，逐件重读后才封存")}</span></div>
    </div></div>
  );
}

function FindFile() {
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
            <div className="row wrap"><Link to="/evidence/$id" params={{ id: e.id }} search={{}}>{e.file_name}</Link><EvidenceStatus e={e} /><span className="sub">{t("指纹入册")} {dateTime(e.registered_at)}</span></div></div>
        )) : <div><span className="status bad"><CloseCircleOutlined />{t("不在册")}</span> <b>{name}</b><p className="sub">{t("您能看到的范围内没有这个摘要：内容已改动、另有来源或不在您的乡镇，不作判断。")}</p></div>)}
      </div>
    </Card>
  );
}

function Leaves({ size }: { size: number }) {
  const { t } = useTranslation();
  const { at } = useSearch({ from: "/inside/log" });
  const navigate = useNavigate();
  const q = useInfiniteQuery({
    queryKey: ["leaves", at ?? size],
    initialPageParam: at !== undefined ? String(at + 10) : "",
    queryFn: ({ pageParam, signal }) => unwrap(client.GET("/api/v1/log/leaves", { params: { query: { limit: 50, cursor: pageParam || undefined } }, signal })),
    getNextPageParam: (p) => p.next_cursor || undefined,
    placeholderData: (old) => old,
  });
  const rows = q.data?.pages.flatMap((p) => p.items) ?? [];
  const mark = useRef<HTMLTableRowElement>(null);
  const found = rows.some((r) => r.index === at);
  useEffect(() => {
    if (found) mark.current?.scrollIntoView({ block: "center" });
  }, [found, at]);
  return (
    <Card title={t("册页")} meta={t("新的在前；只列种类、时间和散列，内容受各自权限保护")} flush acts={<Input.Search aria-label={t("按页码查找")} placeholder={t("页码")} style={{ width: 150 }} allowClear onSearch={(v) => { const n = Number(v.replace(/[,，\s]/g, "")); void navigate({ to: "/log", search: v && Number.isInteger(n) && n >= 0 ? { at: n } : {} }); }} />}>
      {q.error ? <div className="in"><ProblemView error={q.error} retry={() => void q.refetch()} /></div> : q.isPending ? <div className="in"><Skeleton active /></div> : (
        <div className="scrollx" tabIndex={0} role="region" aria-label={t("册页")} style={{ maxHeight: 520, overflowY: "auto" }}><table className="plain leaves">
          <thead><tr><th className="num">{t("页码")}</th><th>{t("种类")}</th><th>{t("时间")}</th><th>{t("散列")}</th></tr></thead>
          <tbody>{rows.map((l) => <tr key={l.index} ref={l.index === at ? mark : undefined} className={l.index === at ? "marked" : ""} aria-current={l.index === at ? "true" : undefined}><td className="num">{count(l.index)}</td><td>{t(kindName(l.kind, l.kind_name))}</td><td className="nowrap">{dateTime(l.time)}</td><td className="mono" style={{ overflowWrap: "anywhere" }}>{l.hash}</td></tr>)}</tbody>
        </table></div>
      )}
      {q.hasNextPage && <div style={{ padding: 8, textAlign: "center" }}><Button size="small" loading={q.isFetchingNextPage} onClick={() => void q.fetchNextPage()}>{t("更早的页")}</Button></div>}
    </Card>
  );
}
