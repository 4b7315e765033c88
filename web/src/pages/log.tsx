// The evidence log: six facts with their age, "is this file in it?", who stands behind it, what was audited, and a drill.
import { CheckCircleOutlined, DownloadOutlined, WarningOutlined } from "@ant-design/icons";
import { useQuery } from "@tanstack/react-query";
import { Dropdown } from "antd";
import { useTranslation } from "react-i18next";
import type { Schemas } from "../api/client";
import { useMay } from "../app/session";
import { ago, count, dateTime } from "../lib/format";
import { logQuery, useNow } from "../lib/live";
import { FindFile } from "../log/find";
import { Leaves } from "../log/leaves";
import { Alarms, CanaryCard, DrillCard, Runs, RunState } from "../log/runs";
import { StoreCard } from "../log/store";
import { Trust } from "../log/trust";
import { Loaded, PageHead } from "../ui/parts";

type State = Schemas["LogState"];

export function LogPage() {
  const { t } = useTranslation();
  const may = useMay();
  const q = useQuery(logQuery);
  return (
    <>
      <PageHead title={t("证据册")} meta={q.data && <Whole l={q.data} />}>
        <Dropdown menu={{ items: [
          { key: "linux", label: <a href="/downloads/zhizheng-verify" download>Linux</a> },
          { key: "windows", label: <a href="/downloads/zhizheng-verify.exe" download>Windows</a> },
          { key: "sums", label: <a href="/downloads/SHA256SUMS">{t("摘要")} SHA256SUMS</a> },
        ] }}><button type="button" className="btn"><DownloadOutlined aria-hidden /> {t("校验工具")}</button></Dropdown>
        <a className="btn" href="/log/vkey" download="zhizheng-vkey.txt">{t("下载公钥")}</a>
        <a className="btn" href="/log/checkpoint" download="checkpoint.txt">{t("下载存证点")}</a>
      </PageHead>
      <Loaded q={q}>{(l) => (
        <div className="body">
          <Alarms />
          <Figures l={l} />
          <div className="grid2">
            <div className="stack">{may("evidence:read") && <FindFile />}<Runs /><Leaves size={l.size} /></div>
            <div className="stack"><Trust l={l} /></div>
          </div>
          <div className="grid2 even"><div className="stack"><CanaryCard last={l.last_canary} /><StoreCard /></div><DrillCard /></div>
        </div>
      )}</Loaded>
    </>
  );
}

/** One word for the whole: what stands still or doesn't hold comes before what is well. */
function Whole({ l }: { l: State }) {
  const { t } = useTranslation();
  const a = l.last_audit;
  if (l.halted) return <span className="status bad"><WarningOutlined />{t("停签：{{why}}", { why: l.halted })}</span>;
  if (a?.state === "findings") return <span className="status bad"><WarningOutlined />{t("最近一次全册重算有 {{n}} 处不符", { n: count(a.finding_count) })}</span>;
  return <><span className="status good"><CheckCircleOutlined />{a?.state === "ok" ? t("完整") : t("正常签署")}</span>{a?.state === "ok" && <span>{t("最近一次全册重算：{{when}}，根一致", { when: dateTime(a.started_at) })}</span>}</>;
}

function Figures({ l }: { l: State }) {
  const { t, i18n } = useTranslation();
  const now = useNow(1000);
  const en = i18n.language === "en";
  const behind = l.signed_size !== undefined ? l.size - l.signed_size : undefined;
  const stamped = l.timestamps?.map((x) => x.gen_time).filter((x) => x !== undefined).sort().pop();
  return (
    <div className="card"><div className="figs">
      <div>{t("大小")}<b>{count(l.size)}</b><span className="sub">{behind ? t("还有 {{n}} 页等下一个存证点", { n: count(behind) }) : t("全部已签")}</span></div>
      <div>{t("存证点")}<b>{ago(l.checkpoint_at, now, en)}</b><span className="sub">{dateTime(l.checkpoint_at)}</span></div>
      <div>{t("见证")}<b>{l.quorum && l.quorum.need > 0 ? `${(l.witnesses ?? []).filter((w) => w.state === "signed").length} / ${l.quorum.of}` : "—"}</b>{l.quorum && l.quorum.need > 0 ? (l.quorum.met ? <span className="status good"><CheckCircleOutlined />{t("够数")}</span> : <span className="status warn"><WarningOutlined />{t("不够数")}</span>) : <span className="sub">{t("未配置")}</span>}</div>
      <div>{t("时间戳")}<b>{stamped ? ago(stamped, now, en) : "—"}</b><span className="sub">{stamped ? dateTime(stamped) : t("未配置")}</span></div>
      <div>{t("最近全册重算")}<b>{l.last_audit ? ago(l.last_audit.started_at, now, en) : "—"}</b>{l.last_audit ? <RunState r={l.last_audit} /> : <span className="sub">{t("每天定时进行")}</span>}</div>
      <div>{t("影像重读")}<b>{l.last_reread ? ago(l.last_reread.started_at, now, en) : "—"}</b>{l.last_reread ? <RunState r={l.last_reread} /> : <span className="sub">{t("封存后随即重读")}</span>}</div>
      <div>{t("锁定试探")}<b>{l.last_canary ? ago(l.last_canary.started_at, now, en) : "—"}</b>{l.last_canary ? <RunState r={l.last_canary} /> : <span className="sub">{l.store_label === "attested" ? t("已证实") : t("封存前重读")}</span>}</div>
    </div></div>
  );
}
