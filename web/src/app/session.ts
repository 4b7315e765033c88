// Who is signed in and what they may do, as the server says.
import { queryOptions, useQuery } from "@tanstack/react-query";
import { client, unwrap, type Session } from "../api/client";

export const sessionQuery = queryOptions({
  queryKey: ["session"],
  queryFn: () => unwrap(client.GET("/api/v1/session")),
  staleTime: 5 * 60_000,
  retry: false,
});

/** may tells whether the server would allow it; the server decides again on each request. */
export function may(s: Session | undefined, permission: string): boolean {
  return s?.permissions.includes(permission) ?? false;
}

export function useMay() {
  const s = useQuery(sessionQuery).data;
  return (permission: string) => may(s, permission);
}

export const townshipsQuery = queryOptions({
  queryKey: ["townships"],
  queryFn: async () => (await unwrap(client.GET("/api/v1/townships"))).items,
  staleTime: 10 * 60_000,
});
