// Digests, and the check of them here: the server's bytes or a file of one's own are hashed in this browser.
import { CheckCircleOutlined, CloseCircleOutlined, SafetyOutlined } from "@ant-design/icons";
import { Button, Progress } from "antd";
import { useImperativeHandle, useRef, useState, type Ref } from "react";
import { useTranslation } from "react-i18next";
import type { Evidence } from "../api/client";
import { bytes, dateTime, groups } from "../lib/format";
import { useHash } from "../lib/useHash";
import { CopyText, ProblemView } from "../ui/parts";

export type DigestsHandle = { verify: () => void };

export function Digests({ e, ref }: { e: Evidence; ref?: Ref<DigestsHandle> }) {
  const { t } = useTranslation();
  const { state, start, cancel } = useHash();
  const [what, setWhat] = useState("");
  const file = useRef<HTMLInputElement>(null);
  const fromServer = () => {
    if (e.status !== "sealed") return;
    setWhat(t("平台上的封存原件"));
    start({ url: `/api/v1/evidence/${encodeURIComponent(e.id)}/content` });
  };
  useImperativeHandle(ref, () => ({ verify: fromServer }));
  const running = state.at === "running";
  const total = running ? state.total || e.size : 0;
  return (
    <section aria-label={t("摘要")}>
      <div className="row wrap" style={{ marginBottom: 8 }}>
        <h2>{t("摘要")}</h2>
        <span className="grow" />
        {running ? <Button size="small" onClick={cancel}>{t("停止")}</Button> : (
          <>
            <Button size="small" icon={<SafetyOutlined />} disabled={e.status !== "sealed"} onClick={fromServer}>{t("在本机校验")}</Button>
            <Button size="small" onClick={() => file.current?.click()}>{t("校验手头文件")}</Button>
          </>
        )}
        <input ref={file} type="file" hidden aria-label={t("校验手头文件")} onChange={(ev) => {
          const f = ev.target.files?.[0];
          ev.target.value = "";
          if (!f) return;
          setWhat(f.name);
          start({ file: f });
        }} />
      </div>
      <dl className="facts">
        <dt>SHA-256</dt><dd className="row"><span className="mono grow" data-testid="sha256">{groups(e.sha256)}</span><CopyText text={e.sha256} label={t("复制 SHA-256")} /></dd>
        {e.sm3 && <><dt>SM3</dt><dd className="row"><span className="mono grow" data-testid="sm3">{groups(e.sm3)}</span><CopyText text={e.sm3} label={t("复制 SM3")} /></dd></>}
        {e.composite && <><dt>{t("分片合成")}</dt><dd className="mono">{groups(e.composite)}</dd></>}
        {e.status !== "pending" && <>
          <dt>{t("复核")}</dt>
          <dd data-testid="verified">{e.status === "damaged"
            ? <span className="bad">{e.verified_at ? t("上次一致：{{time}}", { time: dateTime(e.verified_at) }) : t("从未一致")}</span>
            : e.verified_at ? <><span className="good"><CheckCircleOutlined /> {t("已复核")}</span> <span className="sub">{dateTime(e.verified_at)}</span></> : t("摘要为设备声明，尚未复核")}</dd>
        </>}
      </dl>
      <div aria-live="polite" style={{ marginTop: 8 }}>
        {running && <><Progress percent={total ? Math.floor((state.done / total) * 100) : 0} size="small" aria-label={t("校验进度")} /><p className="sub">{t("正在本机计算：{{what}}，{{done}} / {{total}}", { what, done: bytes(state.done), total: bytes(total) })}</p></>}
        {state.at === "done" && (state.sha256 === e.sha256
          ? <p className="good" data-testid="verdict-same"><CheckCircleOutlined /> {t("一致：{{what}}的摘要与册中指纹相同（{{size}}，{{s}} 秒，在本机算出）", { what, size: bytes(state.size), s: (state.ms / 1000).toFixed(1) })}</p>
          : <div className="bad" role="alert" data-testid="verdict-differs"><CloseCircleOutlined /> {t("不一致：{{what}}不是这份原件，或已被改动", { what })}<div className="mono">{groups(state.sha256)}</div></div>)}
        {state.at === "failed" && <ProblemView error={state.error} />}
        {e.status === "pending" && state.at === "idle" && <p className="sub">{t("影像还没到：指纹已入册，影像到后自动核对并封存。手头文件现在就可以校验。")}</p>}
      </div>
    </section>
  );
}
