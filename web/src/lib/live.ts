// What stays fresh by itself: the log's state and the clock.
import { queryOptions } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { client, unwrap } from "../api/client";

export const logQuery = queryOptions({
  queryKey: ["log"],
  queryFn: () => unwrap(client.GET("/api/v1/log")),
  refetchInterval: 10_000,
});

/** useNow is the time, refreshed every so many milliseconds. */
export function useNow(every: number): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const h = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(h);
  }, [every]);
  return now;
}
