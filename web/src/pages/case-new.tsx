// Opening a case: the township, an item of its powers, two certified officers. The server refuses what the law refuses (R01, R02).
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { Button, DatePicker, Form, Input, Select } from "antd";
import dayjs, { type Dayjs } from "dayjs";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { client, Problem, unwrap } from "../api/client";
import { sessionQuery, townshipsQuery, useMay } from "../app/session";
import { pages } from "../lib/pages";
import { randomKey } from "../lib/random";
import { today } from "../lib/format";
import { Card, PageHead, ProblemView } from "../ui/parts";

type Fields = { township: string; power_item: string; officers: string[]; title: string; occurred_on?: Dayjs; place?: string; summary?: string; purpose?: string };

export function CaseNew() {
  const { t } = useTranslation();
  const may = useMay();
  return may("case:write") ? <Opening /> : <><PageHead title={t("立案")} /><div className="body"><ProblemView error={new Problem(403, "没有这项权限")} /></div></>;
}

function Opening() {
  const { t } = useTranslation();
  const s = useSearch({ from: "/inside/cases/new" });
  const navigate = useNavigate();
  const queries = useQueryClient();
  const session = useQuery(sessionQuery).data;
  const towns = useQuery(townshipsQuery);
  const [form] = Form.useForm<Fields>();
  const [key] = useState(randomKey); // pressing twice opens one case
  const only = session && !session.whole_county && session.townships.length === 1 ? session.townships[0] : undefined;
  const township = Form.useWatch("township", form) ?? s.township ?? only;
  const items = useQuery({
    queryKey: ["power-items", township],
    enabled: !!township,
    queryFn: () => pages((cursor) => unwrap(client.GET("/api/v1/power-items", { params: { query: { township, limit: 200, cursor } } }))),
  });
  const officers = useQuery({
    queryKey: ["officers", township],
    enabled: !!township,
    queryFn: () => pages((cursor) => unwrap(client.GET("/api/v1/officers", { params: { query: { township, limit: 200, cursor } } }))),
  });
  const open = useMutation({
    mutationFn: async (v: Fields) => {
      const c = await unwrap(client.POST("/api/v1/cases", { body: {
        township: v.township, power_item: v.power_item, title: v.title.trim(), officers: v.officers ?? [], key,
        occurred_on: v.occurred_on?.format("YYYY-MM-DD"), place: v.place?.trim() || undefined, summary: v.summary?.trim() || undefined,
      } }));
      if (s.evidence && v.purpose) await unwrap(client.POST("/api/v1/cases/{id}/evidence", { params: { path: { id: c.id } }, body: { evidence_id: s.evidence, purpose: v.purpose.trim() } }));
      return c;
    },
    onSuccess: async (c) => {
      await queries.invalidateQueries({ queryKey: ["cases"] });
      await queries.invalidateQueries({ queryKey: ["evidence"] });
      await navigate({ to: "/cases/$id", params: { id: c.id } });
    },
  });
  return (
    <>
      <PageHead title={t("立案", { context: "act" })} />
      <div className="body" style={{ maxWidth: 860 }}>
        <Card title={t("立案登记")}>
          {[towns, items, officers].map((q, i) => q.error && <div key={i} style={{ marginBottom: 16 }}><ProblemView error={q.error} retry={() => void q.refetch()} /></div>)}
          <Form form={form} layout="vertical" initialValues={{ township: s.township ?? only, occurred_on: dayjs(today()) }} onFinish={(v) => open.mutate(v)} scrollToFirstError>
            <Form.Item name="township" label={t("乡镇")} rules={[{ required: true, message: t("请选择乡镇") }]}>
              <Select showSearch={{ optionFilterProp: "label" }} loading={towns.isPending} placeholder={t("先选乡镇")} options={towns.data?.map((x) => ({ value: x.code, label: x.name }))} onChange={() => form.setFieldsValue({ power_item: undefined as unknown as string, officers: [] })} />
            </Form.Item>
            <Form.Item name="power_item" label={t("权力事项")} extra={t("只有在行为当日对本乡镇有效的事项才能立案（R01）。")} rules={[{ required: true, message: t("请选择权力事项") }]}>
              <Select showSearch={{ optionFilterProp: "label" }} disabled={!township} loading={items.isFetching} placeholder={t("选择事项")} listHeight={320}
                options={items.data?.map((x) => ({ value: x.id, label: `${x.name}${x.mode_name ? `（${t(x.mode_name)}）` : ""}${x.in_force === false ? ` · ${t("已收回或未生效")}` : ""}`, basis: x.basis }))}
                optionRender={(o) => <div><div className="cut">{o.label}</div><div className="sub cut">{String((o.data as { basis?: string }).basis ?? "")}</div></div>}
                onChange={(_, o) => { if (!form.getFieldValue("title") && o && !Array.isArray(o)) form.setFieldValue("title", String(o.label).replace(/（[^（]*）.*$/, "").slice(0, 120)); }} />
            </Form.Item>
            <Form.Item name="officers" label={t("执法人员（两名以上）")} extra={t("须有两名以上证件当日有效的执法人员（R02）。")} rules={[{ required: true, type: "array", message: t("请选择执法人员") }]}>
              <Select mode="multiple" showSearch={{ optionFilterProp: "label" }} disabled={!township} loading={officers.isFetching} placeholder={t("选择执法人员")} maxCount={10}
                options={officers.data?.map((o) => ({ value: o.id, label: `${o.name} ${o.certificate}${o.certified ? "" : ` · ${t("证件无效")}`}` }))} />
            </Form.Item>
            <Form.Item name="title" label={t("案由")} rules={[{ required: true, whitespace: true, min: 2, max: 120, message: t("2 到 120 字") }]}><Input maxLength={120} /></Form.Item>
            <div className="row wrap" style={{ alignItems: "flex-start" }}>
              <Form.Item name="occurred_on" label={t("行为发生日期")} style={{ width: 200 }}><DatePicker style={{ width: "100%" }} /></Form.Item>
              <Form.Item name="place" label={t("地点")} className="grow" style={{ minWidth: 200 }}><Input maxLength={200} /></Form.Item>
            </div>
            <Form.Item name="summary" label={t("简要情况")}><Input.TextArea rows={3} maxLength={2000} /></Form.Item>
            {s.evidence && <Form.Item name="purpose" label={t("证据 {{id}} 的证明目的", { id: s.evidence })} extra={<Link to="/evidence/$id" params={{ id: s.evidence }} search={{}}>{t("查看这份证据")}</Link>} rules={[{ required: true, whitespace: true, min: 2, max: 200, message: t("2 到 200 字") }]}><Input maxLength={200} placeholder={t("例：当事人在河道内堆放砂石的现场全貌")} /></Form.Item>}
            {open.error && <div style={{ marginBottom: 16 }}><ProblemView error={open.error} /></div>}
            <div className="row"><Button type="primary" htmlType="submit" loading={open.isPending}>{t("立案", { context: "act" })}</Button><Button onClick={() => void navigate({ to: "/cases", search: {} })}>{t("取消")}</Button></div>
          </Form>
        </Card>
      </div>
    </>
  );
}
