// Planning an activity, or changing one while its day lasts. The server refuses what the law refuses (R02).
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Button, DatePicker, Form, Input, Modal, Select, TimePicker } from "antd";
import dayjs, { type Dayjs } from "dayjs";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap } from "../api/client";
import { sessionQuery, townshipsQuery } from "../app/session";
import { activityWords, type Activity, type ActivityKind } from "../lib/activities";
import { today } from "../lib/format";
import { pages } from "../lib/pages";
import { randomKey } from "../lib/random";
import { ProblemView } from "../ui/parts";

type Fields = { township: string; kind: ActivityKind; title: string; place?: string; day: Dayjs; from?: Dayjs | null; to?: Dayjs | null; officers: string[]; case_id?: string };

const two = new Set<ActivityKind | undefined>(["inspection", "investigation"]);
const time = (s?: string) => (s ? dayjs(`2000-01-01T${s}`) : null);

export function ActivityForm({ a, township: wanted, day, onClose, onDone }: { a?: Activity; township?: string; day?: string; onClose: () => void; onDone: (a: Activity) => void }) {
  const { t } = useTranslation();
  const queries = useQueryClient();
  const session = useQuery(sessionQuery).data;
  const towns = useQuery(townshipsQuery);
  const [form] = Form.useForm<Fields>();
  const [key] = useState(randomKey); // pressing twice enters one
  const only = session && !session.whole_county && session.townships.length === 1 ? session.townships[0] : undefined;
  const first: Partial<Fields> = a ? { township: a.township, kind: a.kind, title: a.title, place: a.place, day: dayjs(a.day), from: time(a.from), to: time(a.to), officers: a.officers.map((o) => o.id), case_id: a.case?.id }
    : { township: wanted ?? only, day: dayjs(day ?? today()), officers: [] };
  const township = Form.useWatch("township", form) ?? first.township;
  const kind = Form.useWatch("kind", form) ?? first.kind;
  const officers = useQuery({
    queryKey: ["officers", township],
    enabled: !!township,
    queryFn: () => pages((cursor) => unwrap(client.GET("/api/v1/officers", { params: { query: { township, limit: 200, cursor } } }))),
  });
  const cases = useQuery({
    queryKey: ["cases", "open", township],
    enabled: !!township,
    queryFn: () => pages((cursor) => unwrap(client.GET("/api/v1/cases", { params: { query: { township, open: true, limit: 200, cursor } } }))),
  });
  const send = useMutation({
    mutationFn: (v: Fields) => {
      const body = { kind: v.kind, title: v.title.trim(), place: v.place?.trim() || undefined, day: v.day.format("YYYY-MM-DD"), from: v.from?.format("HH:mm"), to: v.to?.format("HH:mm"), officers: v.officers, case_id: v.case_id || undefined };
      return a ? unwrap(client.PUT("/api/v1/activities/{id}", { params: { path: { id: a.id } }, body: { ...body, revision: a.revision } }))
        : unwrap(client.POST("/api/v1/activities", { body: { ...body, township: v.township, key } }));
    },
    onSuccess: async (made) => {
      await queries.invalidateQueries({ queryKey: ["activities"] });
      onClose();
      onDone(made);
    },
  });
  const options = cases.data?.map((c) => ({ value: c.id, label: `${c.number} ${c.title}` })) ?? [];
  if (a?.case && !options.some((o) => o.value === a.case?.id)) options.unshift({ value: a.case.id, label: `${a.case.number} ${a.case.title}` });
  return (
    <Modal open width={640} title={a ? t("修改执法活动") : t("安排执法活动")} footer={null} onCancel={onClose} destroyOnHidden>
      {[towns, officers, cases].map((q, i) => q.error && <div key={i} style={{ marginBottom: 16 }}><ProblemView level={2} error={q.error} retry={() => void q.refetch()} /></div>)}
      <Form form={form} layout="vertical" initialValues={first} onFinish={(v) => send.mutate(v)} scrollToFirstError>
        <div className="row wrap" style={{ alignItems: "flex-start" }}>
          <Form.Item name="township" label={t("乡镇")} className="grow" style={{ minWidth: 160 }} rules={[{ required: true, message: t("请选择乡镇") }]}>
            <Select showSearch={{ optionFilterProp: "label" }} disabled={!!a} loading={towns.isPending} placeholder={t("先选乡镇")} options={towns.data?.map((x) => ({ value: x.code, label: x.name }))} onChange={() => form.setFieldsValue({ officers: [], case_id: undefined })} />
          </Form.Item>
          <Form.Item name="kind" label={t("类型")} className="grow" style={{ minWidth: 160 }} rules={[{ required: true, message: t("请选择类型") }]}>
            <Select showSearch={{ optionFilterProp: "label" }} placeholder={t("请选择类型")} options={Object.entries(activityWords).map(([value, l]) => ({ value, label: t(l) }))} />
          </Form.Item>
        </div>
        <Form.Item name="title" label={t("名称")} extra={t("会显示在采集站的按钮上，请不要写当事人姓名。")} rules={[{ required: true, whitespace: true, min: 2, max: 60, message: t("2 到 60 字") }]}><Input maxLength={60} placeholder={t("例：集市占道经营检查")} /></Form.Item>
        <div className="row wrap" style={{ alignItems: "flex-start" }}>
          <Form.Item name="day" label={t("日期")} style={{ width: 160 }} rules={[{ required: true, message: t("请选择日期") }]}><DatePicker allowClear={false} style={{ width: "100%" }} disabledDate={(d) => d.format("YYYY-MM-DD") < today()} /></Form.Item>
          <div className="row" style={{ alignItems: "flex-start" }}>
          <Form.Item name="from" label={t("开始（可不填）")} style={{ width: 130 }} dependencies={["to"]} rules={[({ getFieldValue }) => ({ validator: (_, v) => (!v && getFieldValue("to") ? Promise.reject(new Error(t("起止须同时填写"))) : Promise.resolve()) })]}><TimePicker format="HH:mm" minuteStep={5} needConfirm={false} style={{ width: "100%" }} /></Form.Item>
          <Form.Item name="to" label={t("结束")} style={{ width: 130 }} dependencies={["from"]} rules={[({ getFieldValue }) => ({ validator: (_, v) => (!v && getFieldValue("from") ? Promise.reject(new Error(t("起止须同时填写"))) : Promise.resolve()) })]}><TimePicker format="HH:mm" minuteStep={5} needConfirm={false} style={{ width: "100%" }} /></Form.Item>
          </div>
        </div>
        <Form.Item name="place" label={t("地点")}><Input maxLength={200} /></Form.Item>
        <Form.Item name="officers" label={t("执法人员")} extra={two.has(kind) ? t("检查、调查须有两名以上证件当日有效的执法人员（R02）。") : undefined} rules={[{ required: true, type: "array", min: 1, message: t("请选择执法人员") }]}>
          <Select mode="multiple" showSearch={{ optionFilterProp: "label" }} disabled={!township} loading={officers.isFetching} placeholder={t("选择执法人员")} maxCount={20}
            options={officers.data?.map((o) => ({ value: o.id, label: `${o.name} ${o.certificate}${o.certified ? "" : ` · ${t("证件无效")}`}` }))} />
        </Form.Item>
        <Form.Item name="case_id" label={t("案件（可不填）")}><Select allowClear showSearch={{ optionFilterProp: "label" }} disabled={!township} loading={cases.isFetching} placeholder={t("在办案件")} options={options} /></Form.Item>
        {send.error && <div style={{ marginBottom: 16 }}><ProblemView level={2} error={send.error} /></div>}
        <div className="row" style={{ justifyContent: "flex-end" }}><Button onClick={onClose}>{t("取消")}</Button><Button type="primary" htmlType="submit" loading={send.isPending}>{a ? t("保存") : t("安排")}</Button></div>
      </Form>
    </Modal>
  );
}
