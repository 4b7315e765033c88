// Copies for looking at: a preview that browsers play, a page of pictures. Made when asked for, and never called the original.
import { PictureOutlined, VideoCameraOutlined } from "@ant-design/icons";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Alert, Button, Progress } from "antd";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap, type Schemas } from "../api/client";
import { ProblemView } from "../ui/parts";

type Derived = Schemas["Derived"];
const open = (d: Derived | undefined) => d?.state === "queued" || d?.state === "running";

function useDerived(id: string, kind: "preview" | "contact-sheet") {
  const queries = useQueryClient();
  const queryKey = ["derived", id, kind];
  const params = { path: { id } };
  const state = useQuery({
    queryKey, retry: false,
    queryFn: ({ signal }) => unwrap(kind === "preview" ? client.GET("/api/v1/evidence/{id}/preview", { params, signal }) : client.GET("/api/v1/evidence/{id}/contact-sheet", { params, signal })),
    refetchInterval: (q) => (open(q.state.data) ? 1500 : false),
  });
  const ask = useMutation({
    mutationFn: (fromMs: number) => unwrap(kind === "preview" ? client.POST("/api/v1/evidence/{id}/preview", { params }) : client.POST("/api/v1/evidence/{id}/contact-sheet", { params, body: { from_ms: fromMs } })),
    onSuccess: (d) => queries.setQueryData(queryKey, d),
  });
  return { state, ask };
}

function Making({ d, ask, button }: { d: Derived | undefined; ask: { error: unknown; isPending: boolean }; button: ReactNode }) {
  const { t } = useTranslation();
  return (
    <div className="making">
      {open(d) ? <div role="status">{d?.state === "queued" ? t("已排队，轮到时开始生成") : t("正在生成")}<Progress percent={d?.percent ?? 0} /></div> : button}
      {d?.state === "failed" && <p className="sub" role="alert">{d.failure || t("生成没有成功，可以再试")}</p>}
      {d?.state === "gone" && <p className="sub">{t("上次生成的已被清理，可以重新生成。")}</p>}
      {!!ask.error && <ProblemView error={ask.error} />}
    </div>
  );
}

/** What can't be played: ask for a copy, then play that, with its name over it. */
export function Preview({ id, play }: { id: string; play: (src: string) => ReactNode }) {
  const { t } = useTranslation();
  const { state, ask } = useDerived(id, "preview");
  const d = state.data;
  if (d?.state === "ready") {
    return <><Alert type="warning" showIcon title={t("预览，非原件")} description={t("由平台从原件转换而来，只供查看；取证、校验、出示以原件为准。查看预览也记入保管链。")} />{play(`/api/v1/evidence/${encodeURIComponent(id)}/preview/content`)}</>;
  }
  if (state.isPending) return null;
  return <Making d={d} ask={ask} button={<Button type="primary" icon={<VideoCameraOutlined />} loading={ask.isPending} onClick={() => ask.mutate(0)}>{t("生成预览")}</Button>} />;
}

/** Twenty pictures from the playhead to the end. */
export function ContactSheet({ id, now }: { id: string; now: () => number }) {
  const { t } = useTranslation();
  const { state, ask } = useDerived(id, "contact-sheet");
  const d = state.data;
  if (state.isPending) return null;
  const src = `/api/v1/evidence/${encodeURIComponent(id)}/contact-sheet/content?v=${(d?.sha256 ?? "").slice(0, 12)}`;
  return (
    <section className="sheet" aria-label={t("画面总览")}>
      <div className="row wrap"><h2 className="grow">{t("画面总览")}{d?.state === "ready" && <span className="sub"> {t("预览，非原件")}</span>}</h2>
        {!open(d) && <Button size="small" icon={<PictureOutlined />} loading={ask.isPending} onClick={() => ask.mutate(Math.round(now() * 1000))}>{d?.state === "ready" ? t("从当前画面起重新生成") : t("从当前画面起生成")}</Button>}</div>
      {d?.state === "ready" ? <a href={src} target="_blank" rel="noreferrer"><img src={src} alt={t("画面总览（预览，非原件）")} loading="lazy" /></a> : <Making d={d} ask={ask} button={null} />}
    </section>
  );
}
