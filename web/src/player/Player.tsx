// The video with our own controls. Nothing is fetched before the first play or seek: only then is it a view, and logged as one.
import { BackwardOutlined, CameraOutlined, CaretRightOutlined, FullscreenOutlined, MutedOutlined, PauseOutlined, QuestionCircleOutlined, SoundOutlined, StepBackwardOutlined, StepForwardOutlined, TagOutlined } from "@ant-design/icons";
import { App, Button, Modal, Select, Tooltip } from "antd";
import { useQuery } from "@tanstack/react-query";
import { useCallback, useEffect, useMemo, useRef, useState, type ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap, type Evidence } from "../api/client";
import { clock } from "../lib/format";
import { inert } from "../lib/keys";
import { frameClock } from "./frames";
import { actOf, nextRate, playerKeys, type PlayerAct } from "./keys";
import { ContactSheet } from "./Preview";
import { Timeline } from "./Timeline";
import { TrackView } from "./TrackView";

type Props = { e: Evidence; start?: number; marks: number[]; onMarks: (m: number[]) => void; onPause: (t: number) => void; onVerify: () => void; /** a copy to be played in the original's place */ copy?: string };

export function Player({ e, start, marks, onMarks, onPause, onVerify, copy }: Props) {
  const { t } = useTranslation();
  const { message } = App.useApp();
  const video = useRef<HTMLVideoElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const wanted = useRef<number | undefined>(start);
  const [now, setNow] = useState(start ?? 0);
  const [length, setLength] = useState((e.media.duration_ms ?? 0) / 1000);
  const [playing, setPlaying] = useState(false);
  const [rate, setRate] = useState(1);
  const [muted, setMuted] = useState(false);
  const [help, setHelp] = useState(false);
  const [failed, setFailed] = useState<ReactNode>();
  const [begun, setBegun] = useState(false);
  const [confirmed, setConfirmed] = useState<number>();
  const [range, setRange] = useState<{ in?: number; out?: number }>({});
  const fps = e.media.frame_rate && e.media.frame_rate > 0 ? e.media.frame_rate : 25;
  const frames = useQuery({
    queryKey: ["frames", e.id], enabled: !copy, staleTime: 300_000, retry: false,
    queryFn: ({ signal }) => unwrap(client.GET("/api/v1/evidence/{id}/frames", { params: { path: { id: e.id } }, signal })),
  });
  const ticking = useMemo(() => frameClock(frames.data, fps), [frames.data, fps]);

  const begin = useCallback(() => {
    const v = video.current;
    if (v && v.readyState === 0 && v.networkState !== v.NETWORK_LOADING) v.load();
    setBegun(true);
  }, []);
  const seek = useCallback((to: number) => {
    const v = video.current;
    if (!v) return;
    const at = Math.max(0, Math.min(to, length || to));
    setNow(at);
    setConfirmed(undefined);
    if (v.readyState === 0) {
      wanted.current = at;
      begin();
      return;
    }
    v.currentTime = at;
    // The frame that is really on the screen says which one it is. One that was on its way before the seek may come first.
    const look = () => v.requestVideoFrameCallback((_, m) => {
      const n = ticking.at(m.mediaTime + 2e-3);
      setConfirmed(n);
      if (v.paused && n !== ticking.at(v.currentTime)) look();
    });
    if ("requestVideoFrameCallback" in v) look();
  }, [begin, length, ticking]);
  const play = useCallback(() => {
    const v = video.current;
    if (!v) return;
    begin();
    v.play().catch((err: unknown) => {
      if (err instanceof DOMException && err.name === "AbortError") return; // paused before it began
      setFailed((f) => f ?? t("浏览器不能播放这个文件。"));
    });
  }, [begin, t]);
  const speed = useCallback((r: number) => {
    setRate(r);
    if (video.current) video.current.playbackRate = r;
  }, []);
  const snapshot = useCallback(() => {
    const v = video.current;
    if (!v || v.videoWidth === 0) {
      void message.info(t("先播放到要截图的画面"));
      return;
    }
    const c = document.createElement("canvas");
    c.width = v.videoWidth;
    c.height = v.videoHeight;
    c.getContext("2d")?.drawImage(v, 0, 0);
    c.toBlob((b) => {
      if (!b) return;
      const a = document.createElement("a");
      a.href = URL.createObjectURL(b);
      a.download = `${e.id}_${clock(v.currentTime).replaceAll(":", "-")}.png`;
      a.click();
      setTimeout(() => URL.revokeObjectURL(a.href), 10_000);
      void message.success(t("截图已保存到本机；截图不是原件，原件未变"));
    }, "image/png");
  }, [e.id, message, t]);

  // A clip can only be cut out unchanged between keyframes: the choice keeps to them, and says so.
  const snapped = useCallback((key: number | undefined, here: number) => {
    if (key === undefined || Math.abs(key - here) < 1e-3) return here;
    void message.info(t("选段对齐到关键帧 {{at}}", { at: clock(key) }));
    return key;
  }, [message, t]);
  const act = useCallback((a: PlayerAct) => {
    const v = video.current;
    if (!v) return;
    const here = v.readyState === 0 ? (wanted.current ?? 0) : v.currentTime;
    const n = ticking.at(here);
    switch (a) {
      case "play": if (v.paused) play(); else v.pause(); break;
      case "pause": v.pause(); speed(1); break;
      case "frameBack": v.pause(); seek(ticking.middle(Math.max(0, n - 1))); break;
      case "frameOn": v.pause(); seek(ticking.middle(n + 1)); break;
      case "keyBack": { const k = ticking.keyBefore(here - 0.2); if (k !== undefined) { v.pause(); seek(ticking.middle(ticking.at(k + 1e-3))); } break; }
      case "keyOn": { const k = ticking.keyAfter(here); if (k !== undefined) { v.pause(); seek(ticking.middle(ticking.at(k + 1e-3))); } break; }
      case "back1": seek(here - 1); break;
      case "on1": seek(here + 1); break;
      case "back10": seek(here - 10); break;
      case "on10": seek(here + 10); break;
      case "start": seek(0); break;
      case "end": seek(Math.max(0, length - 1 / fps)); break;
      case "faster": if (v.paused) play(); else speed(nextRate(rate, true) ?? rate); break;
      case "slower": { const r = nextRate(rate, false); if (r === undefined) seek(here - 1); else speed(r); break; }
      case "in": { const at = snapped(ticking.keyBefore(here), here); setRange((r) => ({ in: at, out: r.out !== undefined && r.out > at ? r.out : undefined })); break; }
      case "out": { const at = snapped(ticking.keyAfter(here), here); setRange((r) => ({ in: r.in !== undefined && r.in < at ? r.in : undefined, out: at })); break; }
      case "clear": setRange({}); break;
      case "mark": onMarks([...marks, here]); break;
      case "prevMark": { const m = [...marks].reverse().find((x) => x < here - 0.05); if (m !== undefined) seek(m); break; }
      case "nextMark": { const m = marks.find((x) => x > here + 0.05); if (m !== undefined) seek(m); break; }
      case "snapshot": snapshot(); break;
      case "verify": onVerify(); break;
      case "mute": setMuted((m) => !m); break;
      case "help": setHelp(true); break;
      case "full": if (document.fullscreenElement) void document.exitFullscreen(); else void box.current?.requestFullscreen().catch(() => message.info(t("浏览器不允许全屏"))); break;
    }
  }, [fps, length, marks, message, onMarks, onVerify, play, rate, seek, snapped, snapshot, speed, t, ticking]);

  useEffect(() => {
    const on = (ev: KeyboardEvent) => {
      if (inert(ev)) return;
      const a = actOf(ev);
      if (!a) return;
      // a focused button keeps its own Space; everything else is the player's
      if (a === "play" && ev.target instanceof Element && ev.target.closest("button,a,[role=slider]")) return;
      ev.preventDefault();
      act(a);
    };
    addEventListener("keydown", on);
    return () => removeEventListener("keydown", on);
  }, [act]);
  useEffect(() => {
    if (!playing) return;
    let h = 0;
    const tick = () => {
      if (video.current) setNow(video.current.currentTime);
      h = requestAnimationFrame(tick);
    };
    h = requestAnimationFrame(tick);
    return () => cancelAnimationFrame(h);
  }, [playing]);

  const onMeta = () => {
    const v = video.current;
    if (!v) return;
    if (Number.isFinite(v.duration) && v.duration > 0) setLength(v.duration);
    if (v.videoWidth === 0 && e.media.video_codec) setFailed(t("浏览器能读出这个文件，但不能解码画面（{{codec}}）。", { codec: e.media.video_codec }));
    v.playbackRate = rate;
    if (wanted.current !== undefined) {
      v.currentTime = wanted.current;
      wanted.current = undefined;
    }
  };
  const onSeeked = () => {
    const v = video.current;
    if (!v) return;
    setNow(v.currentTime);
    if (!v.paused) return;
    onPause(v.currentTime);
    // a busy machine may drop the callback of seek(); the frame itself knows its time
    if ("VideoFrame" in globalThis && v.videoWidth > 0 && v.readyState >= v.HAVE_CURRENT_DATA) {
      const f = new VideoFrame(v);
      setConfirmed(ticking.at(f.timestamp / 1e6 + 2e-3));
      f.close();
    }
  };
  const button = (a: PlayerAct, icon: ReactNode, text?: string) => {
    const k = playerKeys.find((x) => x.act === a);
    const label = `${t(k?.says ?? a)}（${k?.show ?? ""}）`;
    return <Tooltip title={label}><Button icon={icon} aria-label={label} onClick={() => act(a)}>{text}</Button></Tooltip>;
  };
  return (
    <div ref={box} className="player">
      <div className="screen" onClick={() => act("play")}>
        <video ref={video} src={copy ?? `/api/v1/evidence/${encodeURIComponent(e.id)}/content`} poster={e.has_poster ? `/api/v1/evidence/${encodeURIComponent(e.id)}/poster` : undefined}
          preload="none" playsInline muted={muted} tabIndex={-1} aria-label={t("影像 {{name}}", { name: e.file_name })} onLoadedMetadata={onMeta} onPlay={() => { setPlaying(true); setConfirmed(undefined); }}
          onPause={() => { setPlaying(false); const at = video.current?.currentTime ?? 0; setNow(at); onPause(at); }}
          onSeeked={onSeeked}
          onError={() => setFailed(video.current?.error?.code === 2 ? t("读取中断：服务器没有给出影像内容。") : t("浏览器不能播放这个文件（{{codec}}）。", { codec: [e.media.container, e.media.video_codec].filter(Boolean).join(" ") || e.content_type }))} />
        {!begun && !failed && <button type="button" className="bigplay" aria-label={t("播放；查看将记入保管链")} onClick={(ev) => { ev.stopPropagation(); play(); }}><CaretRightOutlined /><span>{t("播放（查看记入保管链）")}</span></button>}
        {copy && <span className="copymark">{t("预览，非原件")}</span>}
        {failed && <div className="cannot" role="alert"><b>{failed}</b><span>{t("原件没有问题时，可下载后用专用播放器打开；摘要见右侧。")}</span></div>}
      </div>
      <div className="controls">
        {button("frameBack", <StepBackwardOutlined />)}
        {button("play", playing ? <PauseOutlined /> : <CaretRightOutlined />)}
        {button("frameOn", <StepForwardOutlined />)}
        {button("back10", <BackwardOutlined />)}
        <span className="mono time"><b>{clock(now)}</b> / {clock(length).slice(0, 8)}</span>
        <span className="sub">{t("帧 {{n}}", { n: ticking.at(now).toLocaleString("zh-CN") })}{confirmed !== undefined && confirmed === ticking.at(now) ? ` ${t("已确认")}` : ""}</span>
        <span className="grow" />
        <Select aria-label={t("播放速度")} value={rate} onChange={speed} style={{ width: 80 }} options={[0.25, 0.5, 1, 1.5, 2, 4, 8].map((r) => ({ value: r, label: `${r}×` }))} />
        {button("snapshot", <CameraOutlined />)}
        {button("mark", <TagOutlined />)}
        {button("mute", muted ? <MutedOutlined /> : <SoundOutlined />)}
        {button("full", <FullscreenOutlined />)}
        {button("help", <QuestionCircleOutlined />)}
      </div>
      <Timeline length={length} now={now} range={range} marks={marks} start={e.recorded_at} onSeek={seek} onRemoveMark={(m) => onMarks(marks.filter((x) => x !== m))} onClear={() => setRange({})} />
      <TrackView id={e.id} now={now} onSeek={seek} />
      <ContactSheet id={e.id} now={() => now} />
      <Modal open={help} onCancel={() => setHelp(false)} footer={null} title={t("按键说明")} width={560}>
        <div className="keys">{playerKeys.map((k) => <div key={k.act} className="row"><span className="kbd">{t(k.show)}</span><span>{t(k.says)}</span></div>)}<div className="row"><span className="kbd">/</span><span>{t("搜索")}</span></div></div>
      </Modal>
    </div>
  );
}
