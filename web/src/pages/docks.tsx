// Docking stations, live: what each township brought today, and each station's slots. Fingerprints and footage finish hours apart, so each
// has its own line; "may be taken" and "all sealed" are different promises.
import { ApiOutlined, CheckCircleOutlined, ClockCircleOutlined, CloudUploadOutlined, DisconnectOutlined, ExclamationCircleOutlined, LoadingOutlined, MinusCircleOutlined, PrinterOutlined, SafetyCertificateOutlined, StopOutlined, UsbOutlined } from "@ant-design/icons";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { Button, Tooltip } from "antd";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap, type Schemas } from "../api/client";
import { ago, bytes, count, dateTime, shortTime } from "../lib/format";
import { useMay } from "../app/session";
import { activityWords, isKind } from "../lib/activities";
import { useNow } from "../lib/live";
import { Card, Empty, LeafLink, Loaded, PageHead, ProblemView } from "../ui/parts";

type Dock = Schemas["Dock"];
type Day = Schemas["DockDay"];
type Slot = Schemas["StationSlot"];

const slotWords: Record<Slot["state"], [string, string, ReactNode]> = {
  empty: ["空闲", "dim", <MinusCircleOutlined key="i" />],
  disabled: ["停用", "dim", <StopOutlined key="i" />],
  unlocking: ["解锁中", "", <LoadingOutlined key="i" />],
  reading: ["正在读卡 · 勿取", "warn", <LoadingOutlined key="i" />],
  takeable: ["可取走", "good", <CheckCircleOutlined key="i" />],
  uploading: ["影像上传中 · 勿取", "warn", <CloudUploadOutlined key="i" />],
  wipeable: ["全部已封存", "good", <SafetyCertificateOutlined key="i" />],
  wiped: ["已清除 · 可取走", "good", <SafetyCertificateOutlined key="i" />],
  attention: ["缺失待说明", "bad", <ExclamationCircleOutlined key="i" />],
  unclaimed: ["待认领", "warn", <ExclamationCircleOutlined key="i" />],
  failed: ["需处理", "bad", <ExclamationCircleOutlined key="i" />],
};

const eventWords: Record<string, string> = {
  docked: "插入", undocked: "取出", taken: "领用", returned: "归还", labelled: "标注活动", mistaken: "标记误录", "gap-reason": "说明缺失", wiped: "清除原件", claimed: "认领", slip: "开具回单",
};

/** part is how much of a whole there is, in percent; nothing of nothing is all of it. */
export function part(done: number | undefined, of: number | undefined): number {
  return of ? Math.min(100, Math.floor(((done ?? 0) / of) * 100)) : 100;
}

function Meter({ label, done, of, text }: { label: string; done?: number; of?: number; text: string }) {
  const p = of ? part(done, of) : 0;
  return (
    <div className="gauge"><span className="sub">{label}</span>
      <span className="track" role="progressbar" aria-label={label} aria-valuenow={p} aria-valuemin={0} aria-valuemax={100} aria-valuetext={text}><i className={of && p === 100 ? "full" : ""} style={{ width: `${p}%` }} /></span>
      <span className="sub num">{text}</span>
    </div>
  );
}

export function Online({ d }: { d: Pick<Dock, "online" | "at"> }) {
  const { t } = useTranslation();
  if (d.online) return <span className="status good"><ApiOutlined />{t("在线")}</span>;
  return d.at ? <span className="status warn"><DisconnectOutlined />{t("断线")}</span> : <span className="status dim"><DisconnectOutlined />{t("从未报到")}</span>;
}

const docksQuery = (every: number) => ({ queryKey: ["docks"], refetchInterval: every, queryFn: ({ signal }: { signal: AbortSignal }) => unwrap(client.GET("/api/v1/docks", { signal })) });

export function Docks() {
  const { t } = useTranslation();
  const q = useQuery(docksQuery(3000));
  return (
    <>
      <PageHead title={t("采集站")} meta={q.data && t("{{n}} 个站 · {{on}} 个在线", { n: q.data.items.length, on: q.data.items.filter((d) => d.online).length })}>
        <Button icon={<PrinterOutlined />} onClick={() => print()}>{t("打印")}</Button>
      </PageHead>
      <Loaded q={q}>{(d) => <Overview days={d.townships} docks={d.items} />}</Loaded>
    </>
  );
}

function Overview({ days, docks }: { days: Day[]; docks: Dock[] }) {
  const { t } = useTranslation();
  const sum = (f: (d: Day) => number) => days.reduce((n, d) => n + f(d), 0);
  const by = new Map<string, Dock[]>();
  for (const d of docks) by.set(d.township, [...(by.get(d.township) ?? []), d]);
  const total = sum((d) => d.bytes), sealed = sum((d) => d.sealed_bytes), missing = sum((d) => d.missing);
  if (!docks.length) return <div className="body"><Empty icon={<UsbOutlined />} title={t("还没有采集站")}><p>{t("登记采集站后，这里实时显示各站归站情况。")}</p></Empty></div>;
  return (
    <div className="body">
      <div className="card"><div className="figs">
        <div><span className="sub">{t("今日指纹 已入册 / 应有")}</span><b>{count(sum((d) => d.fingerprints))} <small className="sub">/ {count(sum((d) => d.fingerprints) + missing)}</small></b></div>
        <div><span className="sub">{t("今日影像 已到库")}</span><b>{bytes(sealed)} <small className="sub">/ {bytes(total)}</small></b></div>
        <div><span className="sub">{t("影像到库比例")}</span><b>{total ? `${part(sealed, total)}%` : "—"}</b></div>
        <div><span className="sub">{t("缺失")}</span><b className={missing ? "bad" : ""}>{count(missing)}</b></div>
      </div></div>
      <div className="card scrollx" tabIndex={0} role="region" aria-label={t("各乡镇今日归站")}>
        <table className="plain">
          <thead><tr><th>{t("乡镇")}</th><th>{t("采集站")}</th><th className="num">{t("指纹")}</th><th style={{ minWidth: 200 }}>{t("影像到库")}</th><th className="num">{t("缺失")}</th><th>{t("最近入册")}</th></tr></thead>
          <tbody>{days.filter((d) => d.stations || d.fingerprints).map((d) => (
            <tr key={d.township}>
              <td><b>{d.township_name}</b></td>
              <td><span className="row wrap">{(by.get(d.township) ?? []).map((s) => <span key={s.id} className="row"><Link to="/docks/$id" params={{ id: s.id }}>{s.name}</Link><Online d={s} /></span>)}</span></td>
              <td className="num">{count(d.fingerprints)}{d.missing > 0 && <span className="sub"> / {count(d.fingerprints + d.missing)}</span>}</td>
              <td>{d.bytes ? <Meter label={t("影像")} done={d.sealed_bytes} of={d.bytes} text={`${part(d.sealed_bytes, d.bytes)}% · ${bytes(d.bytes)}`} /> : <span className="dim">{t("今日尚无")}</span>}</td>
              <td className="num">{d.missing ? <span className="bad">{t("缺 {{n}}", { n: d.missing })}</span> : <span className="dim">0</span>}</td>
              <td className="nowrap">{shortTime(d.newest)}</td>
            </tr>
          ))}</tbody>
        </table>
      </div>
      <Promises />
    </div>
  );
}

function Promises() {
  const { t } = useTranslation();
  return <p className="sub">{t("可取走：指纹已入册，影像已进本站暂存盘。全部已封存：每段影像的回执都已核对无误，此前不清卡。")}</p>;
}

export function DockPage() {
  const { t } = useTranslation();
  const { id } = useParams({ from: "/inside/docks/$id" });
  const q = useQuery({ queryKey: ["docks", id], refetchInterval: 1000, queryFn: ({ signal }) => unwrap(client.GET("/api/v1/docks/{id}", { params: { path: { id } }, signal })) });
  const now = useNow(1000);
  const d = q.data;
  return (
    <>
      <PageHead title={d ? `${d.township_name} ${d.name}` : t("采集站")} meta={d && <><Online d={d} /><span>{d.at ? t("最近报到 {{ago}}", { ago: ago(d.at, now) }) : ""}</span>{d.live.spool_free !== undefined && <span>{t("暂存盘剩 {{n}}", { n: bytes(d.live.spool_free) })}</span>}<span className="mono">{d.id}</span></>}>
        <Button icon={<PrinterOutlined />} onClick={() => print()}>{t("归站清单")}</Button>
      </PageHead>
      <Loaded q={q}>{(x) => <Station d={x} />}</Loaded>
    </>
  );
}

function Station({ d }: { d: Dock }) {
  const { t } = useTranslation();
  const l = d.live;
  const held = l.slots.filter((s) => s.state === "attention" || s.state === "unclaimed" || s.state === "failed");
  const files = l.slots.reduce((n, s) => n + (s.files ?? 0), 0), prints = l.slots.reduce((n, s) => n + (s.fingerprints ?? 0), 0);
  return (
    <div className="body">
      {!d.online && d.at && <p className="warn"><ClockCircleOutlined /> {t("采集站自 {{time}} 起没有报到，以下是当时的情形。", { time: dateTime(d.at) })}</p>}
      {l.problem && <p className="bad"><ExclamationCircleOutlined /> {l.problem}</p>}
      <div className="card"><div className="figs">
        <div><span className="sub">{t("在站指纹 已入册 / 应有")}</span><b>{count(prints)} <small className="sub">/ {count(files)}</small></b></div>
        <div><span className="sub">{t("待传")}</span><b>{bytes(l.queue_bytes ?? 0)} <small className="sub">{t("{{n}} 段", { n: count(l.queue_files ?? 0) })}</small></b></div>
        <div><span className="sub">{t("上行")}</span><b>{rate(l.rate)} <small className="sub">{l.limit ? t("限 {{n}}", { n: rate(l.limit) }) : t("不限速")}{l.share && l.parallel && l.share < l.parallel ? <> · <Tooltip title={t("全县同时上传时，平台按乡镇公平分配，加急优先。")}><span>{t("并行 {{n}} / {{all}}", { n: l.share, all: l.parallel })}</span></Tooltip></> : null}</small></b></div>
        <div><span className="sub">{t("预计传完")}</span><b>{l.queue_bytes ? (l.done ? shortTime(l.done) : t("暂停中")) : "—"}</b></div>
        <div><span className="sub">{t("待人处理")}</span><b className={held.length ? "bad" : ""}>{count(held.length)}</b></div>
      </div></div>
      {l.slots.length === 0 ? <Empty icon={<UsbOutlined />} title={t("采集站还没有报告工位")}><p>{t("采集站程序以“station”方式运行后，这里显示每个工位。")}</p></Empty> : (
        <div className="slots">{l.slots.map((s) => <SlotCard key={s.slot} s={s} />)}</div>
      )}
      <Promises />
      <Events id={d.id} />
    </div>
  );
}

/** rate writes bytes a second as people speak of links. */
export function rate(n?: number): string {
  const bits = (n ?? 0) * 8;
  return bits >= 1e6 ? `${(bits / 1e6).toFixed(1)} Mbit/s` : `${Math.round(bits / 1000)} kbit/s`;
}

function SlotCard({ s }: { s: Slot }) {
  const { t } = useTranslation();
  const [word, tone, icon] = slotWords[s.state];
  const idle = s.state === "empty" || s.state === "disabled" || s.state === "unlocking";
  return (
    <section className={`card slot ${idle ? "idle" : ""}`} aria-label={t("{{n}} 号工位", { n: s.slot })}>
      <div className="row"><span className="tag">{String(s.slot).padStart(2, "0")}</span>{!idle && <b className="cut">{s.officer_name || t("未识别")}</b>}</div>
      <div className={`status ${tone}`}>{icon}{t(word)}{s.state === "attention" && s.missing ? ` · ${t("缺 {{n}}", { n: s.missing })}` : ""}</div>
      {!idle && <>
        <Meter label={t("指纹")} done={s.fingerprints} of={s.files} text={`${s.fingerprints ?? 0}/${s.files ?? 0}`} />
        <Meter label={t("影像")} done={s.sent} of={s.bytes} text={s.bytes ? `${part(s.sent, s.bytes)}%` : "—"} />
        <div className="sub">{s.logged_at ? t("指纹已入册 {{time}}", { time: dateTime(s.logged_at).slice(11) }) : t("未全部入册")} · {bytes(s.bytes ?? 0)}{s.failed ? ` · ${t("未封存 {{n}}", { n: s.failed })}` : ""}</div>
      </>}
      {s.recorder ? <Link className="sub cut" to="/devices/$id" params={{ id: s.recorder }}>{s.recorder}</Link> : !idle && s.volume && <div className="sub cut" title={s.volume}>{s.volume}</div>}
      {s.note && <div className="sub cut" title={s.note}>{s.note}</div>}
    </section>
  );
}

function Events({ id }: { id: string }) {
  const { t } = useTranslation();
  const may = useMay();
  const q = useInfiniteQuery({
    queryKey: ["docks", id, "events"], initialPageParam: "", refetchInterval: 10_000,
    queryFn: ({ pageParam, signal }) => unwrap(client.GET("/api/v1/docks/{id}/events", { params: { path: { id }, query: { limit: 50, cursor: pageParam || undefined } }, signal })),
    getNextPageParam: (p) => p.next_cursor || undefined,
  });
  const rows = q.data?.pages.flatMap((p) => p.items) ?? [];
  return (
    <Card title={t("站上发生的事")} flush>
      {q.error ? <ProblemView error={q.error} retry={() => void q.refetch()} /> : rows.length === 0 ? <div className="in sub">{t("还没有：插入、领用、归还、标注、清除都会记在这里。")}</div> : (
        <div className="scrollx" tabIndex={0} role="region" aria-label={t("站上发生的事")}><table className="plain">
          <thead><tr><th>{t("时间")}</th><th>{t("事项")}</th><th>{t("人员")}</th><th>{t("记录仪")}</th><th>{t("内容")}</th><th>{t("影像")}</th><th>{t("册页")}</th></tr></thead>
          <tbody>{rows.map((e) => (
            <tr key={e.id}>
              <td className="nowrap">{dateTime(e.at)}</td><td>{t(eventWords[e.kind] ?? e.kind)}</td><td>{e.officer_name ?? <span className="dim">—</span>}</td><td className="mono">{e.recorder ?? "—"}</td>
              <td>{[e.data.slot ? t("{{n}} 号工位", { n: e.data.slot }) : "", isKind(e.data.activity) ? t(activityWords[e.data.activity]) : (e.data.activity ?? ""), e.data.last ? `${e.data.first}–${e.data.last}` : "", e.data.reason ?? ""].filter(Boolean).join(" · ")}{e.data.activity_id && may("case:read") && <> · <Link to="/activities/$id" params={{ id: e.data.activity_id }}>{t("执法活动", { context: "one" })}</Link></>}</td>
              <td>{e.evidence_id ? <Link to="/evidence/$id" params={{ id: e.evidence_id }}>{t("查看")}</Link> : <span className="dim">—</span>}</td>
              <td>{e.leaf_index !== undefined ? <LeafLink index={e.leaf_index} short /> : <span className="dim">—</span>}</td>
            </tr>
          ))}</tbody></table></div>
      )}
      {q.hasNextPage && <div style={{ padding: 8, textAlign: "center" }}><Button loading={q.isFetchingNextPage} onClick={() => void q.fetchNextPage()}>{t("载入更多")}</Button></div>}
    </Card>
  );
}
