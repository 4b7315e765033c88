// What file names would be understood to say: paste names, see which rule reads what, try other rules before they are used.
import { FileSearchOutlined } from "@ant-design/icons";
import { useMutation } from "@tanstack/react-query";
import { Button, Form, Input } from "antd";
import { useTranslation } from "react-i18next";
import { client, unwrap } from "../api/client";
import { dateTime } from "../lib/format";
import { Empty, PageHead, ProblemView } from "../ui/parts";

const examples = ["DSJ-A1B2C1_012345_20260301120000_0001.mp4", "DSJ-A1B2C1_012345_20260301120000_0001.nmea", "NO20260101-120000-000001F.MP4", "MOV_0581.mp4"].join("\n");

export function NamePatterns() {
  const { t } = useTranslation();
  const ask = useMutation({
    mutationFn: (v: { names?: string; config?: string }) => unwrap(client.POST("/api/v1/name-patterns/test", {
      body: { names: (v.names ?? "").split("\n").map((n) => n.trim()).filter(Boolean).slice(0, 500), config: v.config?.trim() || undefined },
    })),
  });
  const rows = ask.data?.items;
  return (
    <>
      <PageHead title={t("文件名规则")} meta={t("名称自称的内容；没有规则认识的名称照样入库")} />
      <div className="body">
        <div className="card" style={{ padding: 16 }}>
          <Form layout="vertical" initialValues={{ names: examples }} onFinish={(v: { names?: string; config?: string }) => ask.mutate(v)}>
            <Form.Item name="names" label={t("文件名，每行一个（最多 500 个）")}><Input.TextArea rows={6} className="mono" spellCheck={false} /></Form.Item>
            <Form.Item name="config" label={t("试用的规则（TOML，不填即用正在使用的规则；只试读，不保存）")}><Input.TextArea rows={4} className="mono" spellCheck={false} maxLength={65_536} /></Form.Item>
            <Button type="primary" htmlType="submit" icon={<FileSearchOutlined />} loading={ask.isPending}>{t("试读")}</Button>
          </Form>
        </div>
        {ask.error ? <ProblemView error={ask.error} /> : rows && (
          <div className="card scrollx" tabIndex={0} role="region" aria-label={t("试读结果")}>
            {rows.length === 0 ? <Empty icon={<FileSearchOutlined />} title={t("没有文件名")} /> : (
              <table className="plain"><thead><tr><th>{t("文件名")}</th><th>{t("规则")}</th><th>{t("记录仪")}</th><th>{t("人员编号")}</th><th>{t("开始时间")}</th><th className="num">{t("序号")}</th><th>{t("编号系列")}</th></tr></thead>
                <tbody>{rows.map((r, i) => (
                  <tr key={`${i} ${r.name}`}><td className="mono">{r.name}{r.sidecar && <span className="tag">{t("附属文件")}</span>}</td><td>{r.matched ? r.rule : <span className="dim">{t("不认识，照样入库")}</span>}</td>
                    <td className="mono">{r.recorder ?? "—"}</td><td className="mono">{r.officer ?? "—"}</td><td className="nowrap">{dateTime(r.time)}</td><td className="num">{r.sequence ?? "—"}</td><td className="mono">{r.series ?? "—"}</td></tr>
                ))}</tbody></table>
            )}
          </div>
        )}
      </div>
    </>
  );
}
