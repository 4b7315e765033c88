// One device: what it says, who has it, and the money it came from.
import { VideoCameraOutlined } from "@ant-design/icons";
import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { Progress } from "antd";
import { useTranslation } from "react-i18next";
import { client, unwrap, type Device } from "../api/client";
import { useMay } from "../app/session";
import { ago, count, dateTime, yuan } from "../lib/format";
import { useNow } from "../lib/live";
import { useTitle } from "../lib/title";
import { Card, CopyLink, LeafLink, Loaded } from "../ui/parts";
import { DeviceChain } from "./chain";
import { Commands, DeviceAccess } from "./device-access";
import { Connection, SelfState } from "./devices";

export function DevicePage() {
  const { id } = useParams({ from: "/inside/devices/$id" });
  const q = useQuery({ queryKey: ["devices", id], queryFn: ({ signal }) => unwrap(client.GET("/api/v1/devices/{id}", { params: { path: { id } }, signal })), refetchInterval: 5000 });
  return <Loaded q={q}>{(d) => <One d={d} />}</Loaded>;
}

function One({ d }: { d: Device }) {
  const { t, i18n } = useTranslation();
  const may = useMay();
  const now = useNow(1000);
  const s = d.state;
  const en = i18n.language === "en";
  const p = d.posting;
  useTitle(d.serial);
  return (
    <>
      <div className="head">
        <h1>{d.serial}</h1>
        <span className="tag">{t(d.kind_name)}</span>
        <Connection s={s} />
        <span className="sub">{[d.name, d.model, d.township_name].filter(Boolean).join(" · ")}</span>
        <div className="acts">
          <CopyLink />
          {d.kind === "recorder" && may("evidence:read") && <Link className="btn" to="/evidence" search={{ recorder: d.serial }}><VideoCameraOutlined aria-hidden /> {t("它录的证据")}{d.evidence_count !== undefined ? ` ${count(d.evidence_count)}` : ""}</Link>}
        </div>
      </div>
      <div className="body">
        <div className="grid2 even">
          <Card title={t("现在")}>
            <dl className="facts">
              <dt>{t("连接")}</dt><dd><Connection s={s} /></dd>
              <dt>{t("状态")}</dt><dd><SelfState s={s} /></dd>
              <dt>{t("最近数据")}</dt><dd>{ago(s.last_data_at, now, en)} {s.last_data_at && <span className="sub">{dateTime(s.last_data_at)}</span>}</dd>
              <dt>{t("最近归站")}</dt><dd>{dateTime(s.last_dock_at)}</dd>
              <dt>{t("最近上传")}</dt><dd>{dateTime(s.last_upload_at)}</dd>
              {s.battery !== undefined && <><dt>{t("电量")}</dt><dd><Progress aria-label={t("电量")} percent={s.battery} size="small" style={{ maxWidth: 240 }} status="normal" /></dd></>}
              {s.storage_used !== undefined && <><dt>{t("存储已用")}</dt><dd><Progress aria-label={t("存储已用")} percent={s.storage_used} size="small" style={{ maxWidth: 240 }} status="normal" /></dd></>}
            </dl>
          </Card>
          <Card title={t("购置与资金来源")}>
            <dl className="facts">
              <dt>{t("资金来源")}</dt><dd>{t(d.funding_name ?? d.funding)}</dd>
              <dt>{t("购置日期")}</dt><dd>{d.bought_on ?? "—"}</dd>
              <dt>{t("价格")}</dt><dd>{d.cost_fen !== undefined ? `${yuan(d.cost_fen)} ${t("元")}` : "—"}</dd>
              {d.posting_id && <>
                <dt>{t("记账")}</dt>
                <dd>{p ? <>
                  {may("budget:read") ? <Link to="/budget/$year/$township" params={{ year: p.date.slice(0, 4), township: p.township }} search={{ posting: p.id }}>{p.date} · {p.memo}</Link> : `${p.date} · ${p.memo}`}
                  <div className="sub">{p.lines.map((l) => `${t(l.account_name ?? l.account)} ${yuan(l.fen)}`).join("；")} {t("元")}</div>
                  <LeafLink index={p.leaf_index} />
                </> : d.posting_year && may("budget:read") ? <Link to="/budget/$year/$township" params={{ year: String(d.posting_year), township: d.township }} search={{ posting: d.posting_id }}>{t("{{y}} 年记账", { y: d.posting_year })}</Link> : t("{{y}} 年记账", { y: d.posting_year ?? "—" })}</dd>
                {(p || d.posting_year) && may("budget:read") && <><dt>{t("经费")}</dt><dd><Link to="/budget/$year/$township" params={{ year: p?.date.slice(0, 4) ?? String(d.posting_year), township: p?.township ?? d.township }}>{t("{{town}} {{y}} 年执法经费", { town: p?.township_name ?? d.township_name, y: p?.date.slice(0, 4) ?? d.posting_year })}</Link></dd></>}
              </>}
              {!d.posting_id && <><dt>{t("说明")}</dt><dd className="sub">{t("不是用本乡镇执法经费购置的，因此没有记账。")}</dd></>}
            </dl>
          </Card>
          <Card title={t("登记")}>
            <dl className="facts">
              <dt>{t("编号")}</dt><dd>{d.serial}</dd>
              <dt>{t("名称")}</dt><dd>{d.name}</dd>
              <dt>{t("型号")}</dt><dd>{d.model || "—"}</dd>
              <dt>{t("乡镇 / 部门")}</dt><dd>{d.township_name}</dd>
              <dt>{t("持有人")}</dt><dd>{d.officer_name ?? "—"}</dd>
              <dt>{t("系统编号")}</dt><dd className="mono">{d.id}</dd>
            </dl>
          </Card>
          <DeviceAccess d={d} />
        </div>
        <Commands d={d} />
        {(d.kind === "recorder" || d.kind === "dock") && <DeviceChain device={d.serial} />}
      </div>
    </>
  );
}
