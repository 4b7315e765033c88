// Choosing a record for a case, with what it is to prove.
import { useInfiniteQuery, useMutation, useQueryClient } from "@tanstack/react-query";
import { Button, Form, Input, Modal, Skeleton } from "antd";
import { useCallback, useState } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap, type Case, type Evidence } from "../api/client";
import { bytes, shortTime } from "../lib/format";
import { TextFilter } from "../ui/filters";
import { Empty, EvidenceStatus, ProblemView } from "../ui/parts";
import { Poster } from "./evidence";

export function PickEvidence({ c, onClose }: { c: Case; onClose: () => void }) {
  const { t } = useTranslation();
  const queries = useQueryClient();
  const [text, setText] = useState<string>();
  const [chosen, setChosen] = useState<Evidence>();
  const q = useInfiniteQuery({
    queryKey: ["evidence", "pick", c.township, text],
    initialPageParam: "",
    queryFn: ({ pageParam, signal }) => unwrap(client.GET("/api/v1/evidence", { params: { query: { township: c.township, q: text, limit: 30, cursor: pageParam || undefined } }, signal })),
    getNextPageParam: (p) => p.next_cursor || undefined,
  });
  const link = useMutation({
    mutationFn: (v: { id: string; purpose: string }) => unwrap(client.POST("/api/v1/cases/{id}/evidence", { params: { path: { id: c.id } }, body: { evidence_id: v.id, purpose: v.purpose.trim() } })),
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: ["cases"] });
      await queries.invalidateQueries({ queryKey: ["evidence"] });
      onClose();
    },
  });
  const rows = q.data?.pages.flatMap((p) => p.items) ?? [];
  const linked = new Set(c.exhibits?.map((x) => x.evidence_id));
  return (
    <Modal open title={t("添加证据到 {{number}}", { number: c.number })} width={760} footer={null} onCancel={onClose} destroyOnHidden>
      <TextFilter value={text} onChange={useCallback((v?: string) => setText(v), [])} placeholder={t("文件名、编号、记录仪")} width={280} />
      <div style={{ maxHeight: 300, overflow: "auto", margin: "12px 0", border: "1px solid var(--line)", borderRadius: 6 }} role="radiogroup" aria-label={t("选择证据")} tabIndex={0}>
        {q.error && <ProblemView error={q.error} retry={() => void q.refetch()} />}
        {q.isPending && <div style={{ padding: 16 }}><Skeleton active /></div>}
        {!q.isPending && !q.error && rows.length === 0 && <Empty title={t("本乡镇没有符合的证据")} />}
        {rows.map((e) => (
          <label key={e.id} className={`pick ${chosen?.id === e.id ? "on" : ""}`}>
            <input type="radio" name="evidence" value={e.id} checked={chosen?.id === e.id} disabled={linked.has(e.id)} onChange={() => setChosen(e)} />
            <Poster e={e} />
            <span className="grow"><b className="cut" style={{ display: "block" }}>{e.file_name}</b><span className="sub">{e.recorder} · {shortTime(e.recorded_at)} · {bytes(e.size)}</span></span>
            {linked.has(e.id) ? <span className="sub">{t("已在本案")}</span> : <EvidenceStatus e={e} />}
          </label>
        ))}
        {q.hasNextPage && <div style={{ padding: 8, textAlign: "center" }}><Button size="small" loading={q.isFetchingNextPage} onClick={() => void q.fetchNextPage()}>{t("载入更多")}</Button></div>}
      </div>
      <Form layout="vertical" onFinish={(v: { purpose: string }) => chosen && link.mutate({ id: chosen.id, purpose: v.purpose })}>
        <Form.Item name="purpose" label={t("证明目的")} rules={[{ required: true, whitespace: true, min: 2, max: 200, message: t("2 到 200 字") }]}><Input maxLength={200} placeholder={t("例：当事人在河道内堆放砂石的现场全貌")} /></Form.Item>
        {link.error && <ProblemView error={link.error} />}
        <div className="row" style={{ justifyContent: "flex-end", marginTop: 16 }}><Button onClick={onClose}>{t("取消")}</Button><Button type="primary" htmlType="submit" disabled={!chosen} loading={link.isPending}>{t("添加")}</Button></div>
      </Form>
    </Modal>
  );
}
