import { useCallback, useEffect, useRef, useState } from "react";
import { Problem, toProblem } from "../api/client";
import type { HashJob, HashNews } from "./hash";

export type HashState = { at: "idle" } | { at: "running"; done: number; total: number; started: number } | { at: "done"; sha256: string; size: number; ms: number } | { at: "failed"; error: Problem };

/** useHash runs one hash at a time in a worker; cancel ends the worker. */
export function useHash() {
  const [state, setState] = useState<HashState>({ at: "idle" });
  const worker = useRef<Worker>(undefined);
  const stop = useCallback(() => {
    worker.current?.terminate();
    worker.current = undefined;
  }, []);
  useEffect(() => stop, [stop]);
  const start = useCallback((job: HashJob) => {
    stop();
    const w = new Worker(new URL("./hash.worker.ts", import.meta.url), { type: "module" });
    worker.current = w;
    const started = performance.now();
    setState({ at: "running", done: 0, total: "file" in job ? job.file.size : 0, started });
    const fail = (error: Problem) => {
      stop();
      setState({ at: "failed", error });
    };
    w.onerror = () => fail(new Problem(0, "本机校验未能启动", "浏览器未能运行校验程序。", undefined, undefined, "刷新页面，或改用离线校验工具 zhizheng-verify"));
    w.onmessage = (e: MessageEvent<HashNews>) => {
      const n = e.data;
      if (n.kind === "progress") setState({ at: "running", done: n.done, total: n.total, started });
      else if (n.kind === "done") {
        stop();
        setState({ at: "done", sha256: n.sha256, size: n.size, ms: performance.now() - started });
      } else fail(n.status === undefined ? new Problem(0, "读取中断", n.message, undefined, undefined, "重试") : toProblem(n.status, n.body));
    };
    w.postMessage(job);
  }, [stop]);
  const cancel = useCallback(() => {
    stop();
    setState({ at: "idle" });
  }, [stop]);
  return { state, start, cancel };
}
