// Small parts every page uses.
import { CheckCircleOutlined, CloseCircleOutlined, ClockCircleOutlined, CloudUploadOutlined, CopyOutlined, DeleteOutlined, ExclamationCircleOutlined, LinkOutlined, LockOutlined, PushpinOutlined, StopOutlined, WarningOutlined, EyeInvisibleOutlined } from "@ant-design/icons";
import { Link } from "@tanstack/react-router";
import { App, Button, Skeleton } from "antd";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { Problem, type Evidence } from "../api/client";
import { copyText } from "../lib/copy";
import { useTitle } from "../lib/title";

export function PageHead({ title, meta, children }: { title: string; meta?: ReactNode; children?: ReactNode }) {
  useTitle(title);
  return (
    <div className="head">
      <h1>{title}</h1>
      {meta && <div className="row wrap sub">{meta}</div>}
      <div className="acts">{children}</div>
    </div>
  );
}

export function Card({ title, meta, acts, children, flush }: { title: ReactNode; meta?: ReactNode; acts?: ReactNode; children: ReactNode; flush?: boolean }) {
  return (
    <section className="card">
      <header>
        <h2>{title}</h2>
        {meta && <span className="sub">{meta}</span>}
        {acts && <div className="acts">{acts}</div>}
      </header>
      {flush ? children : <div className="in">{children}</div>}
    </section>
  );
}

/** A refusal or a failure: what, the rule and article behind it, and what can be done. */
export function ProblemView({ error, retry, level }: { error: unknown; retry?: () => void; level?: number }) {
  const { t } = useTranslation();
  const p = error instanceof Problem ? error : new Problem(0, t("页面出错"), error instanceof Error ? error.message : String(error));
  return (
    <div className="problem" role="alert">
      {p.rule ? <StopOutlined aria-hidden /> : <WarningOutlined aria-hidden />}
      <div className="grow">
        <h3 aria-level={level}>{t(p.detail ?? p.title)}</h3>
        {(p.rule || p.article) && (
          <div className="law">
            {p.rule && <span className="tag mono">{p.rule}</span>}
            {p.article && <span className="sub">{p.article}</span>}
          </div>
        )}
        {p.next && <p className="sub">{t("可以：{{next}}", { next: t(p.next) })}</p>}
        {p.instance && p.status >= 500 && <p className="sub">{t("请求号")} <span className="mono">{p.instance}</span></p>}
        {retry && (p.status < 400 || p.status >= 500 || p.status === 401 || p.status === 429) && (
          <Button size="small" onClick={retry} style={{ marginTop: 8 }}>{t("重试")}</Button>
        )}
      </div>
    </div>
  );
}

export function Empty({ icon, title, children }: { icon?: ReactNode; title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      {icon && <div aria-hidden>{icon}</div>}
      <h2>{title}</h2>
      {children}
    </div>
  );
}

/** What a query gives: loading, failure with a way on, or the data. */
export function Loaded<T>({ q, children }: { q: { data?: T; error: unknown; isPending: boolean; refetch: () => unknown }; children: (data: T) => ReactNode }) {
  if (q.data !== undefined) return <>{children(q.data)}</>;
  if (q.error) return <div className="body"><ProblemView error={q.error} retry={() => void q.refetch()} level={1} /></div>;
  return <div className="body"><Skeleton active paragraph={{ rows: 6 }} /></div>;
}

export function CopyLink() {
  const { t } = useTranslation();
  const { message } = App.useApp();
  return (
    <Button icon={<LinkOutlined />} onClick={async () => {
      if (await copyText(location.href)) void message.success(t("链接已复制，含当前筛选和位置"));
      else void message.error(t("浏览器不允许复制，请从地址栏复制"));
    }}>{t("复制链接")}</Button>
  );
}

export function CopyText({ text, label }: { text: string; label: string }) {
  const { t } = useTranslation();
  const { message } = App.useApp();
  return (
    <Button size="small" type="text" icon={<CopyOutlined />} aria-label={label} onClick={async () => {
      if (await copyText(text)) void message.success(t("已复制"));
      else void message.error(t("浏览器不允许复制，请手动选中"));
    }} />
  );
}

export function LeafLink({ index, short }: { index?: number; short?: boolean }) {
  const { t } = useTranslation();
  if (index === undefined) return null;
  return <Link className="leaf" to="/log" search={{ at: index }}>{!short && `${t("册页")} `}{index.toLocaleString("zh-CN")}</Link>;
}

/** Status by word and icon, never by colour alone. */
export function EvidenceStatus({ e }: { e: Pick<Evidence, "status"> & Partial<Evidence> }) {
  const { t } = useTranslation();
  return (
    <span className="row wrap" style={{ gap: "0 8px" }}>
      {e.status === "sealed" && <span className="status"><LockOutlined />{t("已封存")}</span>}
      {e.status === "pending" && <span className="status warn"><CloudUploadOutlined />{t("影像待传")}</span>}
      {e.status === "damaged" && <span className="status bad"><CloseCircleOutlined />{t("校验不符")}</span>}
      {e.status === "deleted" && <span className="status dim"><DeleteOutlined />{t("已销毁")}</span>}
      {e.held && <span className="status sub"><PushpinOutlined />{t("保全中")}</span>}
      {e.restricted && <span className="status sub"><EyeInvisibleOutlined />{t("受限")}</span>}
      {!!e.late_hours && <span className="status sub"><ClockCircleOutlined />{t("迟传 {{n}} 小时", { n: e.late_hours })}</span>}
    </span>
  );
}

const verdicts: Record<string, string> = { ok: "完好", truncated: "截断", damaged: "损坏", encrypted: "加密", "not-media": "非影像", empty: "空文件", sidecar: "附属文件", unknown: "未判定" };

export function Verdict({ v }: { v?: string }) {
  const { t } = useTranslation();
  if (!v) return <span className="dim">{t("待判定")}</span>;
  const word = t(verdicts[v] ?? v);
  if (v === "ok") return <span className="status good"><CheckCircleOutlined />{word}</span>;
  if (v === "truncated" || v === "damaged" || v === "empty") return <span className="status warn"><ExclamationCircleOutlined />{word}</span>;
  return <span className="status dim">{word}</span>;
}

const holds: Record<string, string> = { none: "未保全", pending: "保全排队中", active: "保全中", lifting: "正在解除" };

export function HoldState({ s }: { s?: string }) {
  const { t } = useTranslation();
  if (!s || s === "none") return <span className="dim">{t("未保全")}</span>;
  return <span className={s === "active" ? "status" : "status warn"}><PushpinOutlined />{t(holds[s] ?? s)}</span>;
}
