// One record: the footage, what was done with it, and where it belongs.
import { DownloadOutlined, EyeInvisibleOutlined, FileOutlined, PrinterOutlined, PushpinOutlined } from "@ant-design/icons";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { Alert, App, Button, Dropdown, Form, Input, Modal } from "antd";
import { useCallback, useMemo, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { client, toProblem, unwrap, type Evidence } from "../api/client";
import { useMay } from "../app/session";
import { activityWords } from "../lib/activities";
import { bytes, dateTime, duration } from "../lib/format";
import { kindName } from "../lib/kinds";
import { useTitle } from "../lib/title";
import { parseMarks, writeMarks } from "../player/keys";
import { Player } from "../player/Player";
import { Preview } from "../player/Preview";
import { TrackView } from "../player/TrackView";
import { CopyLink, Empty, EvidenceStatus, HoldState, LeafLink, Loaded, ProblemView, Verdict } from "../ui/parts";
import { CompletenessFacts } from "./chain";
import { Custody } from "./custody";
import { Digests, type DigestsHandle } from "./digests";
import { Poster } from "./evidence";
import { Gone, Retention } from "./keep";

export function EvidencePage() {
  const { id } = useParams({ from: "/inside/evidence/$id" });
  const q = useQuery({
    queryKey: ["evidence", id],
    queryFn: ({ signal }) => unwrap(client.GET("/api/v1/evidence/{id}", { params: { path: { id } }, signal })),
    refetchInterval: (query) => (query.state.data?.status === "pending" || ["pending", "lifting"].includes(query.state.data?.hold_state ?? "") ? 2000 : 15_000),
  });
  return <Loaded q={q}>{(e) => <Page key={e.id} e={e} />}</Loaded>;
}

function Page({ e }: { e: Evidence }) {
  const { t } = useTranslation();
  const may = useMay();
  const navigate = useNavigate();
  const s = useSearch({ from: "/inside/evidence/$id" });
  const [started] = useState(s.t);
  const marks = useMemo(() => parseMarks(s.m), [s.m]);
  const digests = useRef<DigestsHandle>(null);
  const place = useCallback((p: { t?: number; m?: string }) => void navigate({ to: "/evidence/$id", params: { id: e.id }, search: (old) => ({ ...(old as object), ...p }), replace: true, resetScroll: false }), [navigate, e.id]);
  useTitle(e.file_name);
  const [ask, setAsk] = useState<"hold" | "lift" | "restrict" | "open">();
  const m = e.media;
  const media = [duration(m.duration_ms) !== "—" ? duration(m.duration_ms) : "", m.height ? `${m.width}×${m.height}` : "", m.frame_rate ? `${Math.round(m.frame_rate * 100) / 100} fps` : "", m.video_codec?.toUpperCase(), bytes(e.size)].filter(Boolean).join(" · ");
  const convertible = !!m.video_codec && m.verdict !== "encrypted" || m.verdict === "unknown";
  const player = (copy?: string) => <Player e={e} copy={copy} start={started} marks={marks} onMarks={(x) => place({ m: writeMarks(x) })} onPause={(at) => place({ t: at > 0 ? Math.round(at * 1000) / 1000 : undefined })} onVerify={() => digests.current?.verify()} />;
  return (
    <>
      <div className="head">
        <div className="grow">
          <div className="row wrap" style={{ gap: "0 12px" }}><h1 style={{ overflowWrap: "anywhere" }}>{e.file_name}</h1><EvidenceStatus e={e} />{e.status === "sealed" && <Verdict v={m.verdict} />}</div>
          <div className="sub">{[e.recorder, dateTime(e.recorded_at), media].filter((x) => x && x !== "—").join(" · ")}</div>
        </div>
        <div className="acts">
          <CopyLink />
          <Dropdown trigger={["click"]} menu={{ items: [
            { key: "print", icon: <PrinterOutlined />, label: t("打印本页"), onClick: () => print() },
            ...(e.status === "sealed" ? [{ key: "dl", icon: <DownloadOutlined />, label: <a href={`/api/v1/evidence/${encodeURIComponent(e.id)}/content?download=true`}>{t("下载原件（记入保管链）")}</a> }] : []),
            ...(may("hold:write") && e.status !== "deleted" ? [e.held ? { key: "lift", icon: <PushpinOutlined />, label: t("解除保全…"), onClick: () => setAsk("lift") } : { key: "hold", icon: <PushpinOutlined />, label: t("设置保全…"), onClick: () => setAsk("hold") }] : []),
            ...(may("evidence:restrict") ? [e.restricted ? { key: "open", icon: <EyeInvisibleOutlined />, label: t("解除受限…"), onClick: () => setAsk("open") } : { key: "restrict", icon: <EyeInvisibleOutlined />, label: t("标记误录，限制查看…"), onClick: () => setAsk("restrict") }] : []),
          ] }}><Button>{t("更多操作")}</Button></Dropdown>
          {may("case:write") && <Link to="/cases/new" search={{ evidence: e.id, township: e.township }} className="btn primary">{t("据此立案")}</Link>}
        </div>
      </div>
      {e.status === "damaged" && <Damaged e={e} />}
      <div className="pl">
        <div className="left">
          {e.status === "sealed" && m.playable ? player() : (e.status === "deleted" ? <Gone id={e.id} /> : <NotPlayable e={e} />)}
          {e.status === "sealed" && !m.playable && m.verdict && (convertible ? <Preview id={e.id} play={player} /> : null)}
          {e.status === "sealed" && !m.playable && !convertible && <TrackView id={e.id} />}
        </div>
        <div className="right">
          <Digests e={e} ref={digests} />
          <section aria-label={t("册页与回执")}>
            <div className="row" style={{ marginBottom: 8 }}><h2 className="grow">{t("册页与回执")}</h2><Receipt e={e} /></div>
            <dl className="facts">
              {e.leaves.map((l) => <div key={l.index} style={{ display: "contents" }}><dt>{t(kindName(l.kind, l.kind_name))}</dt><dd className="row"><LeafLink index={l.index} /><span className="sub nowrap">{dateTime(l.time)}</span></dd></div>)}
              {e.wearer && <><dt>{t("佩戴人")}</dt><dd>{e.wearer.name} <span className="sub">{t("按采集站的领用记录")}</span></dd></>}
              {e.activity && <><dt>{t("执法活动", { context: "one" })}</dt><dd>{t(activityWords[e.activity])}{e.activity_ref && <> · {may("case:read") ? <Link to="/activities/$id" params={{ id: e.activity_ref.id }}>{e.activity_ref.title}</Link> : e.activity_ref.title} <span className="sub">{e.activity_ref.day}{e.activity_ref.cancelled ? ` · ${t("已取消")}` : ""}</span></>}</dd></>}
              {e.wiped_at && <><dt>{t("记录仪原件")}</dt><dd>{t("核对回执后已清除 {{time}}", { time: dateTime(e.wiped_at) })}</dd></>}
              {e.check && <><dt>{t("存储核对")}</dt><dd>{e.check === "attested" ? t("存储写入时逐片核对摘要") : t("封存前重读全部字节")}</dd></>}
            </dl>
          </section>
          <Retention e={e} />
          {e.completeness && (
            <section aria-label={t("是否齐全")}>
              <h2 style={{ marginBottom: 8 }}>{t("是否齐全")}</h2>
              <CompletenessFacts c={e.completeness} device={e.recorder && e.device ? e.recorder : undefined} />
            </section>
          )}
          <section aria-label={t("关联")}>
            <h2 style={{ marginBottom: 8 }}>{t("关联")}</h2>
            <Links e={e} />
          </section>
          <section aria-label={t("保管链")}>
            <h2 style={{ marginBottom: 12 }}>{t("保管链")}</h2>
            <Custody id={e.id} />
          </section>
        </div>
      </div>
      {ask && <AskReason e={e} what={ask} onClose={() => setAsk(undefined)} />}
    </>
  );
}

const damages: Record<string, string> = {
  differs: "重读的字节与封存时的摘要不一致", short: "存储中的字节比封存时少", long: "存储中的字节比封存时多", missing: "存储中已没有封存的这份影像", record: "记录上的摘要与证据册中封存时的不一致",
};

/** What the re-read found stays on top until another re-read finds the item whole. */
function Damaged({ e }: { e: Evidence }) {
  const { t } = useTranslation();
  return <Alert type="error" showIcon role="alert" style={{ marginBottom: 16 }} title={t("这份影像已损坏：{{why}}", { why: t(damages[e.damage ?? ""] ?? "校验不符") })}
    description={t("已入册并告警。请从采集站、记录仪或备份取回原件；重读一致后自动恢复。")} />;
}

function NotPlayable({ e }: { e: Evidence }) {
  const { t } = useTranslation();
  if (e.status === "pending") {
    return <div className="card"><Empty icon={<Poster e={{ ...e, has_poster: false }} />} title={t("影像待传")}><p>{t("指纹已于 {{time}} 入册，影像还在采集站。到齐后自动核对、封存，本页会自己更新。", { time: dateTime(e.registered_at) })}</p></Empty></div>;
  }
  return (
    <div className="card">
      <Empty icon={<FileOutlined />} title={!e.media.verdict ? t("正在读取影像信息") : t("这个文件不能作为影像播放")}>
        {e.status === "sealed" && <p>{!e.media.verdict ? t("已封存；影像信息由后台读取，稍后自动出现。") : t("文件已按原样封存，字节未变。")}</p>}
        {!!e.media.reasons?.length && <p className="sub" style={{ marginTop: 8 }}>{e.media.reasons.join("；")}</p>}
      </Empty>
    </div>
  );
}

function Links({ e }: { e: Evidence }) {
  const { t } = useTranslation();
  const may = useMay();
  const d = e.device;
  return (
    <dl className="facts">
      <dt>{t("案件")}</dt>
      <dd>{e.cases?.length ? e.cases.map((c) => <div key={c.id}>{may("case:read") ? <Link to="/cases/$id" params={{ id: c.id }}>{c.number} · {c.title}</Link> : `${c.number} · ${c.title}`}{c.purpose && <div className="sub">{t("证明目的：{{p}}", { p: c.purpose })}</div>}</div>) : <span className="dim">{t("未关联")}</span>}</dd>
      <dt>{t("记录仪")}</dt>
      <dd>{d ? (may("device:read") ? <Link to="/devices/$id" params={{ id: d.id }}>{d.serial} · {d.name}</Link> : `${d.serial} · ${d.name}`) : e.recorder ? `${e.recorder}（${t("未登记的记录仪")}）` : <span className="dim">{t("清单没有写明")}</span>}</dd>
      {d && <>
        <dt>{t("购置")}</dt>
        <dd>{d.posting_id && d.year ? (may("budget:read")
          ? <Link to="/budget/$year/$township" params={{ year: String(d.year), township: d.township }} search={{ posting: d.posting_id }}>{t("{{y}} 年记账", { y: d.year })}</Link>
          : t("{{y}} 年记账", { y: d.year })) : (d.funding ?? <span className="dim">—</span>)}</dd>
        {d.year && may("budget:read") && <><dt>{t("经费")}</dt><dd><Link to="/budget/$year/$township" params={{ year: String(d.year), township: d.township }}>{t("{{y}} 年执法经费", { y: d.year })}</Link></dd></>}
      </>}
      <dt>{t("乡镇")}</dt><dd>{e.township_name}</dd>
      <dt>{t("采集站")}</dt><dd>{e.station ?? "—"}</dd>
      <dt>{t("编号")}</dt><dd className="mono">{e.id}</dd>
      <dt>{t("录制")}</dt><dd>{dateTime(e.recorded_at)}</dd>
      {e.media.name_time && dateTime(e.media.name_time) !== dateTime(e.recorded_at) && <><dt>{t("文件名时间")}</dt><dd>{dateTime(e.media.name_time)}</dd></>}
      {e.media.position && <><dt>{t("影像自报位置")}</dt><dd className="mono">{e.media.position.lat.toFixed(5)}, {e.media.position.lon.toFixed(5)}</dd></>}
      {e.media.name_recorder && <><dt>{t("名称自称的记录仪")}</dt><dd className="mono">{e.media.name_recorder}</dd></>}
      {e.media.name_officer && <><dt>{t("名称自称的人员")}</dt><dd className="mono">{e.media.name_officer}</dd></>}
      {e.media.gps_time && <><dt>{t("卫星时间")}</dt><dd>{dateTime(e.media.gps_time)}</dd></>}
      {e.media.device && <><dt>{t("影像自报设备")}</dt><dd>{e.media.device}</dd></>}
      <dt>{t("指纹入册")}</dt><dd>{dateTime(e.registered_at)}</dd>
      <dt>{t("封存")}</dt><dd>{dateTime(e.sealed_at)}</dd>
      <dt>{t("保全")}</dt><dd><HoldState s={e.hold_state} /></dd>
    </dl>
  );
}

/** The receipt exists once a checkpoint covers the leaf; until then the server says when to ask again. */
function Receipt({ e }: { e: Evidence }) {
  const { t } = useTranslation();
  const { message } = App.useApp();
  const get = useMutation({
    mutationFn: async () => {
      for (let tries = 0; ; tries++) {
        const r = await fetch(`/api/v1/evidence/${encodeURIComponent(e.id)}/receipt`, { credentials: "same-origin" });
        if (r.status === 200) return r.text();
        if (r.status !== 202) throw toProblem(r.status, await r.json().catch(() => undefined));
        if (tries >= 30) throw toProblem(202, { title: t("回执还没有好"), detail: t("存证点还没有盖到这一页，请稍后再取。") });
        await new Promise((ok) => setTimeout(ok, Math.min(10, Number(r.headers.get("Retry-After") ?? 2) || 2) * 1000));
      }
    },
    onSuccess: (text) => {
      const a = document.createElement("a");
      a.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
      a.download = `${e.file_name}.${e.id}.receipt.txt`;
      a.click();
      setTimeout(() => URL.revokeObjectURL(a.href), 10_000);
      void message.success(t("回执已下载；用 zhizheng-verify 离线可验"));
    },
    onError: (err) => void message.error(err.message),
  });
  return <Button size="small" icon={<DownloadOutlined />} loading={get.isPending} onClick={() => get.mutate()}>{get.isPending ? t("等存证点…") : t("下载回执")}</Button>;
}

function AskReason({ e, what, onClose }: { e: Evidence; what: "hold" | "lift" | "restrict" | "open"; onClose: () => void }) {
  const { t } = useTranslation();
  const queries = useQueryClient();
  const params = { path: { id: e.id } };
  const act = useMutation({
    mutationFn: ({ reason }: { reason: string }) => {
      if (what === "hold") return unwrap(client.POST("/api/v1/evidence/{id}/hold", { params, body: { reason } }));
      if (what === "lift") return unwrap(client.POST("/api/v1/evidence/{id}/hold/lift", { params, body: { reason } }));
      return unwrap(client.PUT("/api/v1/evidence/{id}/restriction", { params, body: { restricted: what === "restrict", reason } }));
    },
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: ["evidence"] });
      onClose();
    },
  });
  const titles = { hold: "设置保全", lift: "解除保全", restrict: "标记误录，限制查看", open: "解除受限" };
  return (
    <Modal open title={t(titles[what], { context: "act" })} footer={null} onCancel={onClose} destroyOnHidden>
      <p className="sub" style={{ marginBottom: 12 }}>{what === "hold" ? t("保全期间任何人都不能让它到期；由后台交存储锁定，完成后入册。") : what === "restrict" ? t("只限制查看，什么也不删除；理由记入保管链。") : t("理由记入保管链。")}</p>
      <Form layout="vertical" onFinish={(v: { reason: string }) => act.mutate(v)}>
        <Form.Item name="reason" label={t("理由")} rules={[{ required: true, whitespace: true, min: 2, max: 200, message: t("2 到 200 字") }]}><Input.TextArea rows={3} maxLength={200} showCount /></Form.Item>
        {act.error && <ProblemView error={act.error} />}
        <div className="row" style={{ justifyContent: "flex-end", marginTop: 16 }}><Button onClick={onClose}>{t("取消")}</Button><Button type="primary" htmlType="submit" loading={act.isPending}>{t("确定")}</Button></div>
      </Form>
    </Modal>
  );
}
