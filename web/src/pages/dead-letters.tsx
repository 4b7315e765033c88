// Messages and manifests that were refused, with the reason; nothing is dropped unseen. One can be looked at and taken again.
import { MailOutlined, RedoOutlined } from "@ant-design/icons";
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Button, Modal, Skeleton } from "antd";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap, type Schemas } from "../api/client";
import { bytes, count, dateTime } from "../lib/format";
import { Empty, PageHead, ProblemView } from "../ui/parts";

type Letter = Schemas["DeadLetter"];

const outcomes: Record<NonNullable<Letter["outcome"]>, [string, string]> = {
  accepted: ["重新处理，已收下", "good"], known: ["内容已另行收到", "good"], refused: ["重新处理，仍被拒收", "warn"],
};

export function DeadLetters() {
  const { t } = useTranslation();
  const [shown, setShown] = useState<string>();
  const q = useInfiniteQuery({
    queryKey: ["dead-letters"],
    initialPageParam: "",
    queryFn: ({ pageParam, signal }) => unwrap(client.GET("/api/v1/dead-letters", { params: { query: { limit: 100, cursor: pageParam || undefined } }, signal })),
    getNextPageParam: (p) => p.next_cursor || undefined,
  });
  const rows = q.data?.pages.flatMap((p) => p.items) ?? [];
  return (
    <>
      <PageHead title={t("拒收报文")} meta={t("设备与采集站发来、但没有通过检查的报文")} />
      <div className="body">
        {q.error ? <ProblemView error={q.error} retry={() => void q.refetch()} /> : q.isPending ? <Skeleton active /> : (
          <div className="card scrollx" tabIndex={0} role="region" aria-label={t("拒收报文")}>
            {rows.length === 0 ? <Empty icon={<MailOutlined />} title={t("没有拒收的报文")}><p>{t("这是正常的样子。")}</p></Empty> : (
              <table className="plain"><thead><tr><th>{t("时间")}</th><th>{t("来源")}</th><th>{t("主题")}</th><th>{t("原因")}</th><th className="num">{t("大小")}</th><th>{t("操作")}</th></tr></thead>
                <tbody>{rows.map((d) => (
                  <tr key={d.id}><td className="nowrap">{dateTime(d.time)}</td><td>{d.source}</td><td className="mono">{d.topic ?? "—"}</td>
                    <td>{d.reason}<More d={d} /><Outcome d={d} /></td><td className="num">{bytes(d.size)}</td>
                    <td><Button size="small" onClick={() => setShown(d.id)}>{t("查看…")}</Button></td></tr>
                ))}</tbody></table>
            )}
            {q.hasNextPage && <div style={{ padding: 8, textAlign: "center" }}><Button loading={q.isFetchingNextPage} onClick={() => void q.fetchNextPage()}>{t("载入更多")}</Button></div>}
          </div>
        )}
      </div>
      {shown && <Shown id={shown} onClose={() => setShown(undefined)} />}
    </>
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
  const taken = d?.outcome === "accepted" || d?.outcome === "known";
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
