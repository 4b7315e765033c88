// One enforcement activity: who, when and where, the clips labelled with it, and how the plan changed.
import { EditOutlined, StopOutlined, VideoCameraOutlined } from "@ant-design/icons";
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { Button, Form, Input, Modal, Skeleton } from "antd";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap, type Schemas } from "../api/client";
import { useMay } from "../app/session";
import { activityWords, type Activity } from "../lib/activities";
import { bytes, count, dateTime, shortTime } from "../lib/format";
import { useNow } from "../lib/live";
import { useTitle } from "../lib/title";
import { Card, CopyLink, Empty, EvidenceStatus, Loaded, ProblemView } from "../ui/parts";
import { ActivityForm } from "./activity-form";
import { ActivityState, useHours } from "./activities";
import { Poster } from "./evidence";

export function ActivityPage() {
  const { id } = useParams({ from: "/inside/activities/$id" });
  const q = useQuery({
    queryKey: ["activities", id],
    queryFn: ({ signal }) => unwrap(client.GET("/api/v1/activities/{id}", { params: { path: { id } }, signal })),
    refetchInterval: 30_000,
  });
  return <Loaded q={q}>{(a) => <One a={a} />}</Loaded>;
}

function One({ a }: { a: Activity }) {
  const { t } = useTranslation();
  const may = useMay();
  const now = useNow(30_000);
  const hoursOf = useHours();
  const [edit, setEdit] = useState(false);
  const [cancel, setCancel] = useState(false);
  useTitle(a.title);
  return (
    <>
      <div className="head">
        <div className="grow">
          <div className="row wrap"><h1>{a.title}</h1><span className="tag">{t(activityWords[a.kind])}</span><ActivityState a={a} now={now} /></div>
          <div className="sub">{[a.township_name, `${a.day} ${hoursOf(a)}`, a.place].filter(Boolean).join(" · ")}</div>
        </div>
        <div className="acts">
          <CopyLink />
          {a.editable && <Button icon={<StopOutlined />} onClick={() => setCancel(true)}>{t("取消活动…")}</Button>}
          {a.editable && <Button type="primary" icon={<EditOutlined />} onClick={() => setEdit(true)}>{t("修改…")}</Button>}
        </div>
      </div>
      <div className="body">
        {a.cancelled_at && <p className="warn"><StopOutlined aria-hidden /> {t("已于 {{time}} 取消：{{why}}", { time: dateTime(a.cancelled_at), why: a.cancel_reason })}</p>}
        <div className="grid2">
          <div className="stack">
            <Card flush title={t("影像")} meta={t("{{n}} 段", { n: count(a.clip_count) })} acts={may("evidence:read") && a.clip_count > 0 && <Link to="/evidence" search={{ activity_id: a.id }}>{t("在证据库中查看")}</Link>}>
              {a.clip_count === 0 ? <Empty icon={<VideoCameraOutlined />} title={t("还没有影像标注为这项活动")}><p>{t("执法人员在采集站归还记录仪时点选它，影像就列在这里。")}</p></Empty> : may("evidence:read") ? <Clips id={a.id} /> : <p className="in sub">{t("您的角色不能查看影像。")}</p>}
            </Card>
          </div>
          <div className="stack">
            <Card title={t("安排")}><dl className="facts">
              <dt>{t("时间")}</dt><dd>{a.day} {hoursOf(a)}</dd>
              <dt>{t("地点")}</dt><dd>{a.place || <span className="dim">—</span>}</dd>
              <dt>{t("执法人员")}</dt><dd>{a.officers.map((o) => o.name).join("、")}</dd>
              <dt>{t("案件")}</dt><dd>{a.case ? <Link to="/cases/$id" params={{ id: a.case.id }}>{a.case.number} · {a.case.title}</Link> : <span className="dim">{t("未关联")}</span>}</dd>
              <dt>{t("编号")}</dt><dd className="mono">{a.id}</dd>
            </dl></Card>
            <Card title={t("经过")} meta={t("安排、改动和取消都保留")}>
              <ol className="tl">{[...(a.changes ?? [])].reverse().map((c) => <Change key={c.at} c={c} />)}</ol>
            </Card>
          </div>
        </div>
      </div>
      {edit && <ActivityForm a={a} onClose={() => setEdit(false)} onDone={() => undefined} />}
      {cancel && <Cancel a={a} onClose={() => setCancel(false)} />}
    </>
  );
}

const whats = { planned: "已安排", changed: "已改动", cancelled: "已取消" };
const fields = { kind: "类型", title: "名称", place: "地点", time: "时间", officers: "执法人员", case: "案件" };

function Change({ c }: { c: Schemas["ActivityChange"] }) {
  const { t } = useTranslation();
  const value = (field: string, v: string) => (v === "" ? t("无") : field === "kind" ? t(v) : v);
  return (
    <li><span className="dot" aria-hidden>·</span>
      <div><b>{t(whats[c.what])}{c.reason ? `：${c.reason}` : ""}</b>
        {c.fields.map((f) => <div key={f.field}><span className="sub">{t(fields[f.field])}</span> <span className="dim">{value(f.field, f.before)}</span> → {value(f.field, f.after)}</div>)}
        <div className="sub">{c.actor_name} · {dateTime(c.at)}</div>
      </div><span /></li>
  );
}

function Clips({ id }: { id: string }) {
  const { t } = useTranslation();
  const q = useInfiniteQuery({
    queryKey: ["evidence", "activity", id],
    initialPageParam: "",
    queryFn: ({ pageParam, signal }) => unwrap(client.GET("/api/v1/evidence", { params: { query: { activity_id: id, limit: 50, cursor: pageParam || undefined } }, signal })),
    getNextPageParam: (p) => p.next_cursor || undefined,
  });
  const rows = q.data?.pages.flatMap((p) => p.items) ?? [];
  if (q.error) return <div className="in"><ProblemView error={q.error} retry={() => void q.refetch()} /></div>;
  if (q.isPending) return <div className="in"><Skeleton active /></div>;
  return (
    <>
      <div className="scrollx" tabIndex={0} role="region" aria-label={t("影像")}><table className="plain" style={{ minWidth: 520 }}>
        <thead><tr><th>{t("影像")}</th><th>{t("文件 / 编号")}</th><th>{t("录制时间")}</th><th>{t("状态")}</th></tr></thead>
        <tbody>{rows.map((e) => (
          <tr key={e.id}>
            <td><Poster e={e} /></td>
            <td><Link to="/evidence/$id" params={{ id: e.id }} search={{}} style={{ overflowWrap: "anywhere" }}>{e.file_name}</Link><div className="sub">{e.recorder ?? "—"} · {bytes(e.size)}</div></td>
            <td className="nowrap">{shortTime(e.recorded_at)}</td>
            <td><EvidenceStatus e={e} /></td>
          </tr>
        ))}</tbody>
      </table></div>
      {q.hasNextPage && <div style={{ padding: 8, textAlign: "center" }}><Button loading={q.isFetchingNextPage} onClick={() => void q.fetchNextPage()}>{t("载入更多")}</Button></div>}
    </>
  );
}

function Cancel({ a, onClose }: { a: Activity; onClose: () => void }) {
  const { t } = useTranslation();
  const queries = useQueryClient();
  const act = useMutation({
    mutationFn: ({ reason }: { reason: string }) => unwrap(client.POST("/api/v1/activities/{id}/cancel", { params: { path: { id: a.id } }, body: { revision: a.revision, reason } })),
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: ["activities"] });
      onClose();
    },
  });
  return (
    <Modal open title={t("取消执法活动")} footer={null} onCancel={onClose} destroyOnHidden>
      <p className="sub" style={{ marginBottom: 12 }}>{t("取消的活动不再出现在采集站，但不会删除；已标注为它的影像不变。")}</p>
      <Form layout="vertical" onFinish={(v: { reason: string }) => act.mutate(v)}>
        <Form.Item name="reason" label={t("理由")} rules={[{ required: true, whitespace: true, min: 2, max: 200, message: t("2 到 200 字") }]}><Input.TextArea rows={2} maxLength={200} showCount /></Form.Item>
        {act.error && <ProblemView level={2} error={act.error} />}
        <div className="row" style={{ justifyContent: "flex-end", marginTop: 16 }}><Button onClick={onClose}>{t("返回")}</Button><Button danger type="primary" htmlType="submit" loading={act.isPending}>{t("取消活动")}</Button></div>
      </Form>
    </Modal>
  );
}
