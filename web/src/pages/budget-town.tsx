// A township's year: the allotment as a sum one can check, what was spent, and every posting.
import { PlusOutlined, PrinterOutlined } from "@ant-design/icons";
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { Button, Form, Input, Modal, Select, Skeleton } from "antd";
import { useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { client, Problem, unwrap, type BudgetYear, type Posting } from "../api/client";
import { townshipsQuery, useMay } from "../app/session";
import { dateTime, today, wan, yuan } from "../lib/format";
import { useTitle } from "../lib/title";
import { Card, CopyLink, Empty, LeafLink, Loaded, ProblemView } from "../ui/parts";
import { Meter } from "./budget";
import { NewPosting } from "./posting-new";

export function BudgetTown() {
  const { year, township } = useParams({ from: "/inside/budget/$year/$township" });
  const q = useQuery({ queryKey: ["budget", Number(year), township], queryFn: ({ signal }) => unwrap(client.GET("/api/v1/budget/years/{year}/{township}", { params: { path: { year: Number(year), township } }, signal })) });
  // a year without allotment is no failure: another year can be chosen
  if (q.error instanceof Problem && q.error.status === 404) return <NoYear year={Number(year)} township={township} />;
  return <Loaded q={q}>{(y) => <Year y={y} />}</Loaded>;
}

function YearSelect({ year, township }: { year: number; township: string }) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const last = Number(today().slice(0, 4));
  const years = [...new Set([year, ...Array.from({ length: 5 }, (_, i) => last - i)])].sort((a, b) => b - a);
  return <Select aria-label={t("年度")} value={year} style={{ width: 90 }} options={years.map((v) => ({ value: v, label: String(v) }))} onChange={(v) => void navigate({ to: "/budget/$year/$township", params: { year: String(v), township }, search: {} })} />;
}

function NoYear({ year, township }: { year: number; township: string }) {
  const { t } = useTranslation();
  const name = useQuery(townshipsQuery).data?.find((x) => x.code === township)?.name ?? township;
  const title = t("{{town}} · {{y}} 年执法经费", { town: name, y: year });
  useTitle(title);
  return (
    <>
      <div className="head"><h1>{title}</h1><YearSelect year={year} township={township} /></div>
      <div className="body"><div className="card"><Empty title={t("{{y}} 年还没有核定额度", { y: year })}><p>{t("或不在您的乡镇范围内。")}</p></Empty></div></div>
    </>
  );
}

/** The formula's text as lines: one a term, so that it can be added up by eye. */
export function terms(formula: string): { sum: string[]; total?: string } {
  const m = /^(.*)\s=\s([^=]*)$/s.exec(formula);
  const left = m?.[1] ?? formula;
  return { sum: left.split(/\s\+\s/), total: m?.[2] };
}

function Year({ y }: { y: BudgetYear }) {
  const { t } = useTranslation();
  const may = useMay();
  const [adding, setAdding] = useState(false);
  const f = terms(y.formula);
  const title = t("{{town}} · {{y}} 年执法经费", { town: y.township_name, y: y.year });
  useTitle(title);
  return (
    <>
      <div className="head">
        <h1>{title}</h1>
        <YearSelect year={y.year} township={y.township} />
        <span className="sub">{t("单位 万元")}</span>
        <div className="acts">
          <CopyLink />
          <Button icon={<PrinterOutlined />} onClick={() => print()}>{t("打印台账")}</Button>
          {may("budget:write") && <Button type="primary" icon={<PlusOutlined />} onClick={() => setAdding(true)}>{t("记一笔")}</Button>}
        </div>
      </div>
      <div className="body">
        <div className="grid2">
          <Card title={t("年初核定")}>
            <div className="row wrap" style={{ alignItems: "flex-start", gap: "4px 16px" }}>
              <div style={{ fontSize: 22, lineHeight: "28px", fontWeight: 600 }} className="nowrap">{wan(y.allotted_fen)} <span className="sub">{t("万元")}</span></div>
              <ul className="formula" aria-label={t("核定公式")}>{f.sum.map((x, i) => <li key={i}><span className="dim">{i === 0 ? "=" : "+"}</span> {x}</li>)}{f.total && <li><b>= {f.total}</b></li>}</ul>
            </div>
          </Card>
          <Card title={t("余额")} meta={t("已付 {{a}} + 可用 {{b}} = {{c}}", { a: wan(y.spent_fen), b: wan(y.left_fen), c: wan(y.allotted_fen) })}>
            <Meter spent={y.spent_fen} allotted={y.allotted_fen} />
            <div className="figs" style={{ marginTop: 4 }}><div style={{ paddingLeft: 0 }}>{t("已付")}<b>{wan(y.spent_fen)}</b></div><div>{t("可用")}<b className={y.left_fen < 0 ? "bad" : ""}>{wan(y.left_fen)}</b></div></div>
          </Card>
        </div>
        {!!y.accounts?.length && <Card title={t("按科目")} flush><table className="plain"><thead><tr><th>{t("科目")}</th><th className="num">{t("元")}</th></tr></thead><tbody>{y.accounts.map((a) => <tr key={a.account}><td>{t(a.name)} <span className="mono dim">{a.account}</span></td><td className="num">{yuan(a.fen)}</td></tr>)}</tbody></table></Card>}
        <Postings y={y} />
      </div>
      {adding && <NewPosting y={y} onClose={() => setAdding(false)} />}
    </>
  );
}

function Postings({ y }: { y: BudgetYear }) {
  const { t } = useTranslation();
  const may = useMay();
  const { posting } = useSearch({ from: "/inside/budget/$year/$township" });
  const [reversing, setReversing] = useState<Posting>();
  const q = useInfiniteQuery({
    queryKey: ["postings", y.year, y.township],
    initialPageParam: "",
    queryFn: ({ pageParam, signal }) => unwrap(client.GET("/api/v1/budget/postings", { params: { query: { year: y.year, township: y.township, limit: 100, cursor: pageParam || undefined } }, signal })),
    getNextPageParam: (p) => p.next_cursor || undefined,
  });
  const rows = q.data?.pages.flatMap((p) => p.items) ?? [];
  // the posting named in the address may be beyond the pages loaded so far
  const missing = posting !== undefined && q.isSuccess && !rows.some((p) => p.id === posting);
  const one = useQuery({ queryKey: ["postings", posting], enabled: missing, queryFn: ({ signal }) => unwrap(client.GET("/api/v1/budget/postings/{id}", { params: { path: { id: posting ?? "" } }, signal })) });
  const shown = missing && one.data ? [one.data, ...rows] : rows;
  const mark = useRef<HTMLTableRowElement>(null);
  const found = shown.some((p) => p.id === posting);
  useEffect(() => {
    if (found) mark.current?.scrollIntoView({ block: "center" });
  }, [found, posting]);
  return (
    <Card title={t("记账")} meta={t("只增不改，错账冲销")} flush>
      {q.error ? <ProblemView error={q.error} retry={() => void q.refetch()} /> : q.isPending ? <div className="in"><Skeleton active /></div> : shown.length === 0 ? <Empty title={t("{{y}} 年还没有记账", { y: y.year })} /> : (
        <div className="scrollx" tabIndex={0} role="region" aria-label={t("记账")}><table className="plain postings">
          <thead><tr><th>{t("日期")}</th><th>{t("摘要", { context: "memo" })}</th><th>{t("分录")}</th><th>{t("装备")}</th><th className="num">{t("元")}</th><th>{t("册页")}</th><th><span className="visually-hidden">{t("操作")}</span></th></tr></thead>
          <tbody>{shown.map((p) => (
            <tr key={p.id} ref={p.id === posting ? mark : undefined} className={p.id === posting ? "marked" : ""} aria-current={p.id === posting ? "true" : undefined}>
              <td className="nowrap">{p.date}</td>
              <td>{p.memo}{p.reverses && <div className="sub warn">{t("冲销另一笔")}</div>}{p.reversed_by && <div className="sub warn">{t("已被冲销")}</div>}<div className="sub">{p.posted_by_name} {dateTime(p.posted_at)}</div></td>
              <td>{p.lines.map((l, i) => <div key={i} className="row"><span className="grow">{t(l.account_name ?? l.account)}</span><span className="nowrap">{yuan(l.fen)}</span></div>)}</td>
              <td>{p.devices?.length ? p.devices.slice(0, 3).map((d) => <div key={d.id}>{may("device:read") ? <Link to="/devices/$id" params={{ id: d.id }}>{d.serial}</Link> : d.serial}</div>) : <span className="dim">—</span>}{p.device_ids.length > 3 && <div className="sub">{t("等 {{n}} 台", { n: p.device_ids.length })}</div>}</td>
              <td className="num nowrap">{p.amount_fen !== undefined ? yuan(p.amount_fen) : "—"}</td>
              <td><LeafLink index={p.leaf_index} /></td>
              <td className="noprint">{may("budget:write") && !p.reverses && !p.reversed_by && <Button size="small" onClick={() => setReversing(p)} aria-label={t("冲销 {{memo}}", { memo: p.memo })}>{t("冲销")}</Button>}</td>
            </tr>
          ))}</tbody>
        </table></div>
      )}
      {q.hasNextPage && <div style={{ padding: 8, textAlign: "center" }}><Button loading={q.isFetchingNextPage} onClick={() => void q.fetchNextPage()}>{t("载入更多")}</Button></div>}
      {reversing && <Reverse p={reversing} onClose={() => setReversing(undefined)} />}
    </Card>
  );
}

function Reverse({ p, onClose }: { p: Posting; onClose: () => void }) {
  const { t } = useTranslation();
  const queries = useQueryClient();
  const act = useMutation({
    mutationFn: ({ reason }: { reason: string }) => unwrap(client.POST("/api/v1/budget/postings/{id}/reversal", { params: { path: { id: p.id } }, body: { reason } })),
    onSuccess: async () => {
      await Promise.all([queries.invalidateQueries({ queryKey: ["budget"] }), queries.invalidateQueries({ queryKey: ["postings"] })]);
      onClose();
    },
  });
  return (
    <Modal open title={t("冲销：{{memo}}", { memo: p.memo })} footer={null} onCancel={onClose} destroyOnHidden>
      <p className="sub" style={{ marginBottom: 12 }}>{t("原记账不改，另记一笔相反的分录。")}</p>
      <Form layout="vertical" onFinish={(v: { reason: string }) => act.mutate(v)}>
        <Form.Item name="reason" label={t("理由")} rules={[{ required: true, whitespace: true, min: 2, message: t("2 到 200 字") }]}><Input.TextArea rows={2} maxLength={200} /></Form.Item>
        {act.error && <ProblemView error={act.error} />}
        <div className="row" style={{ justifyContent: "flex-end", marginTop: 16 }}><Button onClick={onClose}>{t("取消")}</Button><Button danger type="primary" htmlType="submit" loading={act.isPending}>{t("冲销")}</Button></div>
      </Form>
    </Modal>
  );
}
