// A new posting. Amounts are typed without sign: the kind of account says the side. It can be sent only when both sides agree.
import { DeleteOutlined, PlusOutlined } from "@ant-design/icons";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Button, DatePicker, Form, Input, Modal, Select } from "antd";
import dayjs, { type Dayjs } from "dayjs";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap, type BudgetYear } from "../api/client";
import { useMay } from "../app/session";
import { parseYuan, today, wan, yuan } from "../lib/format";
import { randomKey } from "../lib/random";
import { ProblemView } from "../ui/parts";

type Line = { account?: string; amount?: string };
type Fields = { date: Dayjs; memo: string; devices?: string[]; lines: Line[] };

/** Signed fen of typed lines: assets and expenses are debits, the budget and other sources are credits. */
export function signed(lines: (Line | undefined)[], kindOf: (code: string) => string | undefined): { account: string; fen: number }[] {
  const out: { account: string; fen: number }[] = [];
  for (const l of lines) {
    const fen = l?.amount ? parseYuan(l.amount) : undefined;
    if (!l?.account || fen === undefined) continue;
    const kind = kindOf(l.account);
    out.push({ account: l.account, fen: kind === "budget" || kind === "source" ? -Math.abs(fen) : Math.abs(fen) });
  }
  return out;
}

export function NewPosting({ y, onClose }: { y: BudgetYear; onClose: () => void }) {
  const { t } = useTranslation();
  const may = useMay();
  const queries = useQueryClient();
  const [key] = useState(randomKey);
  const [form] = Form.useForm<Fields>();
  const accounts = useQuery({ queryKey: ["accounts"], staleTime: Infinity, queryFn: async () => (await unwrap(client.GET("/api/v1/budget/accounts"))).items });
  const [find, setFind] = useState("");
  const devices = useQuery({ queryKey: ["devices", "pick", y.township, find], enabled: may("device:read"), queryFn: async () => (await unwrap(client.GET("/api/v1/devices", { params: { query: { township: y.township, q: find || undefined, limit: 50 } } }))).items });
  const kindOf = (code: string) => accounts.data?.find((a) => a.code === code)?.kind;
  const lines = signed(Form.useWatch("lines", form) ?? [], kindOf);
  const debit = lines.reduce((n, l) => n + (l.fen > 0 ? l.fen : 0), 0);
  const credit = lines.reduce((n, l) => n - (l.fen < 0 ? l.fen : 0), 0);
  const balanced = debit === credit && debit > 0;
  const post = useMutation({
    mutationFn: (v: Fields) => unwrap(client.POST("/api/v1/budget/postings", { body: { key, township: y.township, date: v.date.format("YYYY-MM-DD"), memo: v.memo.trim(), device_ids: v.devices ?? [], lines: signed(v.lines, kindOf) } })),
    onSuccess: async () => {
      await Promise.all([queries.invalidateQueries({ queryKey: ["budget"] }), queries.invalidateQueries({ queryKey: ["postings"] }), queries.invalidateQueries({ queryKey: ["devices"] })]);
      onClose();
    },
  });
  const now = dayjs(today());
  return (
    <Modal open title={t("{{town}}：记一笔", { town: y.township_name })} width={680} footer={null} onCancel={onClose} destroyOnHidden mask={{ closable: false }}>
      <p className="sub" style={{ marginBottom: 12 }}>{t("{{y}} 年可用 {{n}} 万元。记账只增不改，每笔入册。", { y: y.year, n: wan(y.left_fen) })}</p>
      {accounts.error && <div style={{ marginBottom: 16 }}><ProblemView error={accounts.error} retry={() => void accounts.refetch()} /></div>}
      <Form form={form} layout="vertical" initialValues={{ date: now.year() === y.year ? now : dayjs(`${y.year}-12-31`), lines: [{ account: "asset.recorder" }, { account: "budget" }] }} onFinish={(v) => post.mutate(v)}>
        <div className="row" style={{ alignItems: "flex-start" }}>
          <Form.Item name="date" label={t("日期")} rules={[{ required: true }]}><DatePicker allowClear={false} disabledDate={(d) => d.year() !== y.year || d.isAfter(now, "day")} /></Form.Item>
          <Form.Item name="memo" label={t("摘要", { context: "memo" })} className="grow" rules={[{ required: true, whitespace: true, message: t("请写摘要") }]}><Input maxLength={200} placeholder={t("例：购执法记录仪 2 台")} /></Form.Item>
        </div>
        {may("device:read") && <Form.Item name="devices" label={t("所购装备（可不填）")}>
          <Select mode="multiple" showSearch={{ filterOption: false, onSearch: setFind }} loading={devices.isFetching} options={devices.data?.map((d) => ({ value: d.id, label: `${d.serial} ${d.name}` }))} />
        </Form.Item>}
        <fieldset className="lines">
          <legend>{t("分录")}</legend>
          <Form.List name="lines">{(fields, { add, remove }) => (
            <>
              {fields.map((f, i) => (
                <div className="row" key={f.key} style={{ alignItems: "flex-start" }}>
                  <Form.Item name={[f.name, "account"]} className="grow" rules={[{ required: true, message: t("请选择科目") }]}><Select aria-label={t("第 {{n}} 行科目", { n: i + 1 })} showSearch={{ optionFilterProp: "label" }} loading={accounts.isPending} options={accounts.data?.map((a) => ({ value: a.code, label: `${a.kind === "budget" || a.kind === "source" ? t("贷") : t("借")} · ${t(a.name)}` }))} /></Form.Item>
                  <Form.Item name={[f.name, "amount"]} style={{ width: 150 }} rules={[{ validator: (_, v?: string) => ((v && parseYuan(v)) || 0) > 0 ? Promise.resolve() : Promise.reject(new Error(t("金额如 1200 或 1200.50"))) }]}><Input aria-label={t("第 {{n}} 行金额（元）", { n: i + 1 })} inputMode="decimal" suffix={t("元")} /></Form.Item>
                  <Button icon={<DeleteOutlined />} aria-label={t("删去第 {{n}} 行", { n: i + 1 })} disabled={fields.length <= 2} onClick={() => remove(f.name)} />
                </div>
              ))}
              <Button size="small" icon={<PlusOutlined />} onClick={() => add({})} disabled={fields.length >= 50}>{t("加一行")}</Button>
            </>
          )}</Form.List>
          <p role="status" className={balanced ? "good" : "warn"} style={{ marginTop: 8 }}>{t("借方 {{a}} 元，贷方 {{b}} 元：", { a: yuan(debit), b: yuan(credit) })}{balanced ? t("平") : t("不平，还不能记账")}</p>
        </fieldset>
        {post.error && <ProblemView error={post.error} />}
        <div className="row" style={{ justifyContent: "flex-end", marginTop: 16 }}><Button onClick={onClose}>{t("取消")}</Button><Button type="primary" htmlType="submit" disabled={!balanced} loading={post.isPending}>{t("记账", { context: "act" })}</Button></div>
      </Form>
    </Modal>
  );
}
