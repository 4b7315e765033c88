// Messages and manifests that were refused, with the reason; nothing is dropped unseen. One, several or all of a reason can be taken again.
import { CloseOutlined, MailOutlined, RedoOutlined } from "@ant-design/icons";
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { Button, Checkbox, Modal, Progress, Skeleton } from "antd";
import { useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap, type Schemas } from "../api/client";
import type { LetterSearch } from "../app/router";
import { bytes, count, dateTime, shortTime } from "../lib/format";
import { Card, Empty, PageHead, ProblemView } from "../ui/parts";

type Letter = Schemas["DeadLetter"];
type Group = Schemas["DeadLetterReason"];
/** What is to be taken again: those chosen, or all of a reason. */
type Job = { ids: string[] } | { source: string; reason: string; open: number };

const outcomes: Record<NonNullable<Letter["outcome"]>, [string, string]> = {
  accepted: ["重新处理，已收下", "good"], known: ["内容已另行收到", "good"], refused: ["重新处理，仍被拒收", "warn"],
};

const isTaken = (d: Letter) => d.outcome === "accepted" || d.outcome === "known";

export function DeadLetters() {
  const { t } = useTranslation();
  const s = useSearch({ from: "/inside/dead-letters" });
  const navigate = useNavigate();
  const [shown, setShown] = useState<string>();
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [job, setJob] = useState<Job>();
  const q = useInfiniteQuery({
    queryKey: ["dead-letters", "list", s],
    initialPageParam: "",
    queryFn: ({ pageParam, signal }) => unwrap(client.GET("/api/v1/dead-letters", { params: { query: { ...s, limit: 100, cursor: pageParam || undefined } }, signal })),
    getNextPageParam: (p) => p.next_cursor || undefined,
  });
  const rows = q.data?.pages.flatMap((p) => p.items) ?? [];
  const open = rows.filter((d) => !isTaken(d));
  const picked = open.filter((d) => chosen.has(d.id)).map((d) => d.id);
  const choose = (ids: string[], on: boolean) => setChosen((old) => {
    const next = new Set(old);
    for (const id of ids) if (on) next.add(id); else next.delete(id);
    return next;
  });
  const set = (p: LetterSearch) => {
    setChosen(new Set());
    void navigate({ to: "/dead-letters", search: p, replace: true });
  };
  return (
    <>
      <PageHead title={t("拒收报文")} meta={t("设备与采集站发来、但没有通过检查的报文")} />
      <div className="body">
        <Reasons s={s} onShow={(g) => set(g)} onAgain={(g) => setJob({ source: g.source, reason: g.reason, open: g.open })} />
        {q.error ? <ProblemView error={q.error} retry={() => void q.refetch()} /> : q.isPending ? <Skeleton active /> : (
          <section className="card" aria-label={t("拒收报文")}>
            {(s.reason !== undefined || s.open || picked.length > 0) && (
              <header style={{ position: "sticky", top: 0, zIndex: 2, background: "var(--surface)", borderRadius: 8 }}>
                {s.reason !== undefined && <span className="tag">{s.source}：<span className="cut" style={{ maxWidth: 320 }}>{s.reason}</span><button type="button" className="plainbtn" aria-label={t("清除筛选")} onClick={() => set({ open: s.open })}><CloseOutlined /></button></span>}
                {picked.length > 0 && <div className="acts"><span aria-live="polite">{t("已选 {{n}} 条", { n: count(picked.length) })}</span><Button size="small" onClick={() => setChosen(new Set())}>{t("不选")}</Button><Button size="small" type="primary" icon={<RedoOutlined />} onClick={() => setJob({ ids: picked })}>{t("重新处理所选")}</Button></div>}
              </header>
            )}
            {rows.length === 0 ? <Empty icon={<MailOutlined />} title={s.reason !== undefined ? t("没有符合筛选的报文") : t("没有拒收的报文")}><p>{s.reason === undefined && t("这是正常的样子。")}</p></Empty> : (
              <div className="scrollx" tabIndex={0} role="region" aria-label={t("报文清单")}>
              <table className="plain" style={{ minWidth: 760 }}><thead><tr>
                <th><Checkbox aria-label={t("全选已载入、还没有收下的")} disabled={!open.length} checked={open.length > 0 && picked.length === open.length} indeterminate={picked.length > 0 && picked.length < open.length} onChange={(e) => choose(open.map((d) => d.id), e.target.checked)} /></th>
                <th>{t("时间")}</th><th>{t("来源")}</th><th>{t("主题")}</th><th>{t("原因")}</th><th className="num">{t("大小")}</th><th>{t("操作")}</th></tr></thead>
                <tbody>{rows.map((d) => (
                  <tr key={d.id}><td><Checkbox aria-label={t("选择 {{time}} 的报文", { time: dateTime(d.time) })} disabled={isTaken(d)} checked={!isTaken(d) && chosen.has(d.id)} onChange={(e) => choose([d.id], e.target.checked)} /></td>
                    <td className="nowrap">{dateTime(d.time)}</td><td>{d.source}</td><td className="mono">{d.topic ?? "—"}</td>
                    <td>{d.reason}<More d={d} /><Outcome d={d} /></td><td className="num nowrap">{bytes(d.size)}</td>
                    <td><Button size="small" onClick={() => setShown(d.id)}>{t("查看…")}</Button></td></tr>
                ))}</tbody></table>
              </div>
            )}
            {q.hasNextPage && <div style={{ padding: 8, textAlign: "center" }}><Button loading={q.isFetchingNextPage} onClick={() => void q.fetchNextPage()}>{t("载入更多")}</Button></div>}
          </section>
        )}
      </div>
      {shown && <Shown id={shown} onClose={() => setShown(undefined)} />}
      {job && <Again job={job} onClose={() => { setJob(undefined); setChosen(new Set()); }} />}
    </>
  );
}

/** Why messages were refused, and how many of each wait. */
function Reasons({ s, onShow, onAgain }: { s: LetterSearch; onShow: (g: LetterSearch) => void; onAgain: (g: Group) => void }) {
  const { t } = useTranslation();
  const q = useQuery({ queryKey: ["dead-letters", "reasons"], queryFn: ({ signal }) => unwrap(client.GET("/api/v1/dead-letters/reasons", { signal })), refetchInterval: 30_000 });
  if (q.error) return <ProblemView error={q.error} retry={() => void q.refetch()} />;
  const groups = q.data?.items ?? [];
  if (groups.length === 0) return null;
  return (
    <Card flush title={t("按原因")} meta={t("待处理 {{n}} 条", { n: count(groups.reduce((n, g) => n + g.open, 0)) })}>
      <div className="scrollx" tabIndex={0} role="region" aria-label={t("按原因")}><table className="plain" style={{ minWidth: 620 }}>
        <thead><tr><th>{t("来源")}</th><th>{t("原因")}</th><th className="num">{t("待处理 / 共")}</th><th>{t("最近")}</th><th>{t("操作")}</th></tr></thead>
        <tbody>{groups.map((g) => (
          <tr key={`${g.source}/${g.reason}`} className={s.source === g.source && s.reason === g.reason ? "marked" : ""}>
            <td>{g.source}</td><td style={{ overflowWrap: "anywhere" }}>{g.reason}</td><td className="num nowrap">{count(g.open)} <span className="sub">/ {count(g.count)}</span></td><td className="nowrap">{shortTime(g.newest)}</td>
            <td className="nowrap"><span className="row"><Button size="small" aria-label={t("只看：{{r}}", { r: g.reason })} onClick={() => onShow({ source: g.source, reason: g.reason })}>{t("只看")}</Button><Button size="small" disabled={!g.open} aria-label={t("全部重新处理：{{r}}", { r: g.reason })} onClick={() => onAgain(g)}>{t("全部重新处理…")}</Button></span></td>
          </tr>
        ))}</tbody></table></div>
    </Card>
  );
}

const chunk = 50;

/** Takes them again, some at a time, so that one sees how far it is and may stop; what is done stays done. */
function Again({ job, onClose }: { job: Job; onClose: () => void }) {
  const { t } = useTranslation();
  const cache = useQueryClient();
  const total = "ids" in job ? job.ids.length : job.open;
  const [tally, setTally] = useState({ accepted: 0, known: 0, refused: 0, passed: 0 });
  const stopped = useRef(false);
  const from = useRef({ at: 0, cursor: "" }); // where to go on after a failure
  useEffect(() => () => { stopped.current = true; }, []);
  const run = useMutation({
    mutationFn: async () => {
      stopped.current = false;
      for (let over = false; !over && !stopped.current;) {
        const body = "ids" in job ? { ids: job.ids.slice(from.current.at, from.current.at + chunk) } : { source: job.source, reason: job.reason, limit: chunk, cursor: from.current.cursor || undefined };
        const r = await unwrap(client.POST("/api/v1/dead-letters/replay", { body }));
        from.current = { at: from.current.at + r.items.length, cursor: r.next_cursor };
        setTally((old) => {
          const next = { ...old };
          for (const x of r.items) next[x.outcome]++;
          return next;
        });
        over = "ids" in job ? from.current.at >= job.ids.length : r.next_cursor === "";
      }
      return !stopped.current;
    },
    onSettled: () => cache.invalidateQueries({ queryKey: ["dead-letters"] }),
  });
  const done = tally.accepted + tally.known + tally.refused + tally.passed;
  const finished = run.data === true;
  return (
    <Modal open title={t("重新处理拒收报文")} footer={null} onCancel={onClose} destroyOnHidden mask={{ closable: false }}>
      <p>{"ids" in job ? t("重新处理所选的 {{n}} 条报文。", { n: count(total) }) : t("重新处理“{{r}}”的全部 {{n}} 条报文。", { r: job.reason, n: count(total) })}</p>
      <p className="sub">{t("按先后逐条重新检查；每条的结果都记在报文上，原文仍保留。")}</p>
      <div role="status" aria-live="polite" style={{ margin: "12px 0" }}>
        {(run.isPending || done > 0) && <>
          <Progress percent={finished ? 100 : Math.min(99, Math.floor((done / Math.max(1, total)) * 100))} status={finished && !tally.refused ? "success" : run.isPending ? "active" : "normal"} aria-label={t("处理进度")} />
          <dl className="facts"><dt>{t("已收下")}</dt><dd>{count(tally.accepted)}</dd><dt>{t("内容已另行收到")}</dt><dd>{count(tally.known)}</dd><dt>{t("仍被拒收")}</dt><dd>{count(tally.refused)}</dd>{tally.passed > 0 && <><dt>{t("跳过（此前已收下，或不能重做）")}</dt><dd>{count(tally.passed)}</dd></>}</dl>
        </>}
        {finished && <p style={{ marginTop: 8 }}>{t("完成：处理了 {{n}} 条。", { n: count(done) })}</p>}
      </div>
      {run.error && <ProblemView level={2} error={run.error} />}
      <div className="row" style={{ justifyContent: "flex-end", marginTop: 16 }}>
        {run.isPending ? <Button onClick={() => { stopped.current = true; }}>{t("停止")}</Button> : <Button onClick={onClose}>{t("关闭")}</Button>}
        {!finished && <Button type="primary" icon={<RedoOutlined />} loading={run.isPending} onClick={() => run.mutate()}>{done > 0 ? t("继续") : t("开始处理")}</Button>}
      </div>
    </Modal>
  );
}

/** Of a device that sends too many of them, the last stands for those before it. */
function More({ d }: { d: Letter }) {
  const { t } = useTranslation();
  return d.skipped ? <div className="sub">{t("这台设备当日过多：此前另有 {{n}} 条只计数、未保存", { n: count(d.skipped) })}</div> : null;
}

function Outcome({ d }: { d: Letter }) {
  const { t } = useTranslation();
  if (!d.outcome) return null;
  const [word, look] = outcomes[d.outcome];
  return <div><span className={`status ${look}`}>{t(word)}</span> <span className="sub">{dateTime(d.again_at)}{d.outcome_reason ? ` · ${d.outcome_reason}` : ""}</span></div>;
}

function Shown({ id, onClose }: { id: string; onClose: () => void }) {
  const { t } = useTranslation();
  const cache = useQueryClient();
  const [hex, setHex] = useState(false);
  const params = { path: { id } };
  const q = useQuery({ queryKey: ["dead-letters", id], queryFn: ({ signal }) => unwrap(client.GET("/api/v1/dead-letters/{id}", { params, signal })) });
  const again = useMutation({
    mutationFn: () => unwrap(client.POST("/api/v1/dead-letters/{id}/replay", { params })),
    onSuccess: () => cache.invalidateQueries({ queryKey: ["dead-letters"] }),
  });
  const d = q.data;
  const taken = !!d && isTaken(d);
  return (
    <Modal open width={760} title={t("拒收报文")} footer={null} onCancel={onClose} destroyOnHidden>
      {q.error ? <ProblemView error={q.error} retry={() => void q.refetch()} /> : !d ? <Skeleton active /> : <>
        <dl className="facts">
          <dt>{t("时间")}</dt><dd>{dateTime(d.time)}</dd>
          <dt>{t("来源")}</dt><dd>{d.source} <span className="mono" style={{ overflowWrap: "anywhere" }}>{d.topic}</span></dd>
          <dt>{t("原因")}</dt><dd>{d.reason}<More d={d} /></dd>
          {d.outcome && <><dt>{t("重新处理")}</dt><dd><Outcome d={d} /></dd></>}
        </dl>
        <div className="row" style={{ margin: "12px 0 4px" }}><span className="sub">{t("原文，{{n}}", { n: bytes(d.size) })}</span>{d.text && <Button size="small" type="text" onClick={() => setHex(!hex)}>{hex ? t("看文本") : t("看十六进制")}</Button>}</div>
        <pre className="mono" tabIndex={0} aria-label={t("原文")} style={{ maxHeight: 320, overflow: "auto", whiteSpace: "pre-wrap", overflowWrap: "anywhere", margin: 0 }}>{d.text && !hex ? d.text : dump(d.hex ?? "")}</pre>
        {again.error && <ProblemView error={again.error} />}
        <div className="row" style={{ justifyContent: "flex-end", marginTop: 16 }}>
          <span className="sub grow">{t("按收到时的途径重新检查；无论结果如何，原文仍保留在这里。")}</span>
          <Button onClick={onClose}>{t("关闭")}</Button>
          <Button type="primary" icon={<RedoOutlined />} disabled={taken} loading={again.isPending} onClick={() => again.mutate()}>{t("重新处理")}</Button>
        </div>
      </>}
    </Modal>
  );
}

/** Sixteen bytes a line, as hex dumps are read. */
function dump(hex: string): string {
  const lines: string[] = [];
  for (let i = 0; i < hex.length; i += 32) lines.push(`${(i / 2).toString(16).padStart(6, "0")}  ${(hex.slice(i, i + 32).match(/../g) ?? []).join(" ")}`);
  return lines.join("\n");
}
