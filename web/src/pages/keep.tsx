// How long a record is kept, whether it came late, and what became of it.
import { ClockCircleOutlined, DeleteOutlined, DownloadOutlined, PrinterOutlined } from "@ant-design/icons";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Button, Form, Input, Modal, Select, Skeleton } from "antd";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { client, toProblem, unwrap, type Evidence, type Schemas } from "../api/client";
import { useMay } from "../app/session";
import { dateTime } from "../lib/format";
import { LeafLink, ProblemView } from "../ui/parts";

type Category = Schemas["Category"];
const categories: Record<Category, string> = { ordinary: "一般", case: "案件证据", complaint: "投诉、信访", obstruction: "阻碍执法", major: "重大或群体性事件" };

export const categoryName = (c?: Category): string => categories[c ?? "ordinary"];

/** The section on the evidence page. */
export function Retention({ e }: { e: Evidence }) {
  const { t } = useTranslation();
  const may = useMay();
  const [ask, setAsk] = useState<Ask>();
  const behind = e.status !== "deleted" && e.retain_until && (!e.locked_until || Date.parse(e.locked_until) < Date.parse(e.retain_until));
  return (
    <section aria-label={t("留存")}>
      <div className="row" style={{ marginBottom: 8 }}>
        <h2 className="grow">{t("留存")}</h2>
        {may("retention:write") && e.status !== "deleted" && <Button size="small" onClick={() => setAsk("category")}>{t("改类别…")}</Button>}
        {may("gap:write") && !!e.late_hours && <Button size="small" onClick={() => setAsk("late")}>{e.late_reason ? t("改写说明…") : t("说明原因…")}</Button>}
      </div>
      <dl className="facts">
        <dt>{t("留存类别")}</dt><dd>{t(categoryName(e.category))}{e.category_reason && <div className="sub">{e.category_reason}</div>}</dd>
        <dt>{t("留存至")}</dt>
        <dd>{e.permanent ? t("永久") : e.retain_until ? <>{dateTime(e.retain_until)}{e.days_left !== undefined && <span className="sub"> · {t("剩 {{n}} 天", { n: e.days_left })}</span>}</> : <span className="dim">{t("自封存起计算")}</span>}</dd>
        {e.locked_until && e.status !== "deleted" && <><dt>{t("存储锁定至")}</dt><dd>{dateTime(e.locked_until)}{behind && <div className="status warn"><ClockCircleOutlined />{t("延长已入册，等存储确认")}</div>}</dd></>}
        {e.recorded_end && <><dt>{t("录制结束")}</dt><dd>{dateTime(e.recorded_end)} <span className="sub">{t("设备自报")}</span></dd></>}
        {!!e.late_hours && <><dt>{t("迟传")}</dt><dd><span className="status warn"><ClockCircleOutlined />{e.sealed_at ? t("录制结束 {{n}} 小时后才封存", { n: e.late_hours }) : t("录制结束已 {{n}} 小时，影像还没到", { n: e.late_hours })}</span><div className="sub">{e.late_reason ? t("说明：{{r}}", { r: e.late_reason }) : t("还没有说明原因")}</div></dd></>}
      </dl>
      {ask && <AskKeep e={e} what={ask} onClose={() => setAsk(undefined)} />}
    </section>
  );
}

type Ask = "category" | "late" | "keep";

/** One reason, and for a category which one. */
export function AskKeep({ e, what, onClose }: { e: Pick<Evidence, "id" | "category" | "file_name">; what: Ask; onClose: () => void }) {
  const { t } = useTranslation();
  const queries = useQueryClient();
  const params = { path: { id: e.id } };
  const act = useMutation({
    mutationFn: ({ category, reason }: { category: Category; reason: string }) => {
      if (what === "category") return unwrap(client.PUT("/api/v1/evidence/{id}/category", { params, body: { category, reason } }));
      if (what === "late") return unwrap(client.POST("/api/v1/evidence/{id}/late-reason", { params, body: { reason } }));
      return unwrap(client.POST("/api/v1/retention/{id}/keep", { params, body: { reason } }));
    },
    onSuccess: async () => {
      await Promise.all([queries.invalidateQueries({ queryKey: ["evidence"] }), queries.invalidateQueries({ queryKey: ["retention"] })]);
      onClose();
    },
  });
  const titles: Record<Ask, string> = { category: "改留存类别", late: "说明迟传原因", keep: "保留这份影像" };
  const notes: Record<Ask, string> = { category: "留存只能延长，不能缩短：按适用过的最长类别保存。", late: "说明入册，连同您的账号；以后可以再写，前一次仍在保管链上。", keep: "再保存一个一般期限，由后台交存储锁定；理由入册。" };
  return (
    <Modal open title={t(titles[what])} footer={null} onCancel={onClose} destroyOnHidden>
      <p style={{ marginBottom: 4, overflowWrap: "anywhere" }}>{e.file_name}</p>
      <p className="sub" style={{ marginBottom: 12 }}>{t(notes[what])}</p>
      <Form layout="vertical" onFinish={(v: { category: Category; reason: string }) => act.mutate(v)}>
        {what === "category" && <Form.Item name="category" label={t("留存类别")} rules={[{ required: true, message: t("请选择类别") }]}>
          <Select options={(Object.keys(categories) as Category[]).filter((c) => c !== "ordinary" && c !== e.category).map((c) => ({ value: c, label: t(categories[c]) }))} />
        </Form.Item>}
        <Form.Item name="reason" label={t("理由")} rules={[{ required: true, whitespace: true, min: 2, max: 200, message: t("2 到 200 字") }]}><Input.TextArea rows={3} maxLength={200} showCount /></Form.Item>
        {act.error && <ProblemView error={act.error} />}
        <div className="row" style={{ justifyContent: "flex-end", marginTop: 16 }}><Button onClick={onClose}>{t("取消")}</Button><Button type="primary" htmlType="submit" loading={act.isPending}>{t("确定")}</Button></div>
      </Form>
    </Modal>
  );
}

function save(text: string, name: string) {
  const a = document.createElement("a");
  a.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 10_000);
}

/** In place of the player: what was deleted, by which rule, and the proof. */
export function Gone({ id }: { id: string }) {
  const { t } = useTranslation();
  const q = useQuery({
    queryKey: ["certificate", id],
    queryFn: async ({ signal }) => {
      const r = await client.GET("/api/v1/evidence/{id}/deletion-certificate", { params: { path: { id } }, signal });
      if (r.response.status === 202) throw toProblem(202, r.data);
      return unwrap(Promise.resolve(r));
    },
    retry: false,
    refetchInterval: (x) => (x.state.data ? false : 5000),
  });
  const c = q.data;
  return (
    <div className="card"><div className="in">
      <h2 className="row" style={{ marginBottom: 8 }}><DeleteOutlined aria-hidden /> {t("留存期满，影像已销毁")}</h2>
      <p style={{ marginBottom: 12 }}>{t("字节不在了；指纹、保管链和册页都还在，手头若有同一文件仍可与指纹比对。")}</p>
      {q.error ? <ProblemView error={q.error} /> : !c ? <Skeleton active paragraph={{ rows: 4 }} title={false} /> : <>
        <pre className="mono" style={{ whiteSpace: "pre-wrap", overflowWrap: "anywhere" }} aria-label={t("销毁凭证")}>{c.text}</pre>
        <div className="row wrap" style={{ marginTop: 12 }}>
          <LeafLink index={c.leaf_index} />
          <Button size="small" icon={<DownloadOutlined />} onClick={() => save(c.text, `${id}.deletion.txt`)}>{t("下载销毁凭证")}</Button>
          <Button size="small" icon={<DownloadOutlined />} onClick={() => save(c.receipt, `${id}.deletion.tlog-proof`)}>{t("下载回执")}</Button>
          <Button size="small" icon={<PrinterOutlined />} onClick={() => print()}>{t("打印本页")}</Button>
        </div>
      </>}
    </div></div>
  );
}
