// The fleet, live: every device of one's scope in one table, changed in place by one event stream.
import { ApiOutlined, DisconnectOutlined, MobileOutlined, QuestionCircleOutlined, WifiOutlined } from "@ant-design/icons";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { Select, Skeleton } from "antd";
import { useCallback, useEffect, useMemo, useState } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap, type Device, type DeviceState } from "../api/client";
import type { DeviceSearch } from "../app/router";
import { DeviceStream, type StreamState } from "../lib/deviceStream";
import { ago, count, shortTime } from "../lib/format";
import { useNow } from "../lib/live";
import { ClearFilters, TextFilter, TownshipFilter } from "../ui/filters";
import { CopyLink, Empty, PageHead, ProblemView } from "../ui/parts";
import { VirtualTable, type Column } from "../ui/VirtualTable";

const kindNames = { recorder: "执法记录仪", dock: "采集站", computer: "计算机", printer: "打印机", other: "其他" } as const;

/** Puts changed states into the list; rows that didn't change stay the same objects. */
export function merge(list: Device[], states: DeviceState[]): Device[] {
  const by = new Map(states.map((s) => [s.id, s]));
  let hit = false;
  const out = list.map((d) => {
    const s = by.get(d.id);
    if (!s) return d;
    hit = true;
    return { ...d, state: s };
  });
  return hit ? out : list;
}

export function matches(d: Device, s: DeviceSearch): boolean {
  if (s.township && d.township !== s.township) return false;
  if (s.kind && d.kind !== s.kind) return false;
  if (s.connected !== undefined && d.state.connected !== s.connected) return false;
  if (s.q) {
    const q = s.q.toLowerCase();
    return [d.serial, d.name, d.model, d.officer_name].some((x) => x?.toLowerCase().includes(q));
  }
  return true;
}

export function Connection({ s }: { s: DeviceState }) {
  const { t } = useTranslation();
  if (s.connected) return <span className="status good"><WifiOutlined />{t("在线")}</span>;
  if (!s.last_data_at) return <span className="status warn"><QuestionCircleOutlined />{t("从未报到")}</span>;
  return <span className="status dim"><DisconnectOutlined />{t("离线")}</span>;
}

const states: Record<string, string> = { idle: "空闲", recording: "录制中", docked: "在站", charging: "充电", printing: "打印中", uploading: "上传中", off: "关机", error: "故障" };
export function SelfState({ s }: { s: DeviceState }) {
  const { t } = useTranslation();
  const word = s.state ? t(states[s.state] ?? s.state) : s.docked ? t("在站") : "";
  return word ? <>{word}</> : <span className="dim">—</span>;
}

export function useDevices() {
  const queries = useQueryClient();
  const [stream, setStream] = useState<StreamState>("connecting");
  const q = useQuery({
    queryKey: ["devices", "all"],
    staleTime: 5 * 60_000,
    queryFn: async ({ signal }) => {
      const all: Device[] = [];
      let cursor: string | undefined;
      do {
        const p = await unwrap(client.GET("/api/v1/devices", { params: { query: { limit: 2000, cursor } }, signal }));
        all.push(...p.items);
        cursor = p.next_cursor || undefined;
      } while (cursor);
      return all;
    },
  });
  useEffect(() => {
    let lost = false;
    const s = new DeviceStream(
      (x) => queries.setQueryData<Device[]>(["devices", "all"], (old) => old && merge(old, x)),
      (st) => {
        setStream(st);
        if (st === "lost") lost = true;
        else if (st === "live" && lost) {
          lost = false;
          void queries.invalidateQueries({ queryKey: ["devices", "all"] }); // what was missed meanwhile
        }
      },
    );
    return () => s.close();
  }, [queries]);
  return { q, stream };
}

export function DeviceList() {
  const { t, i18n } = useTranslation();
  const s = useSearch({ from: "/inside/devices" });
  const navigate = useNavigate();
  const now = useNow(5000);
  const en = i18n.language === "en";
  const { q, stream } = useDevices();
  const set = useCallback((p: Partial<DeviceSearch>) => void navigate({ to: "/devices", search: (old) => ({ ...(old as DeviceSearch), ...p }), replace: true }), [navigate]);
  const setText = useCallback((text?: string) => set({ q: text }), [set]);
  const all = q.data;
  const rows = useMemo(() => all?.filter((d) => matches(d, s)) ?? [], [all, s]);
  const sums = useMemo(() => {
    const kinds = new Map<string, number>();
    let on = 0, never = 0;
    for (const d of all ?? []) {
      kinds.set(d.kind, (kinds.get(d.kind) ?? 0) + 1);
      if (d.state.connected) on++;
      else if (!d.state.last_data_at) never++;
    }
    return { kinds, on, never, off: (all?.length ?? 0) - on - never };
  }, [all]);
  const filtered = Object.values(s).some((v) => v !== undefined);
  const columns: Column<Device>[] = [
    { key: "serial", title: t("编号"), width: "minmax(150px,1fr)", cell: (d) => <Link to="/devices/$id" params={{ id: d.id }} className="cut" style={{ display: "block" }}>{d.serial}</Link> },
    { key: "kind", title: t("类型"), width: "100px", cell: (d) => <div className="cut">{t(d.kind_name)}</div> },
    { key: "model", title: t("型号"), width: "minmax(110px,.8fr)", cell: (d) => <div className="cut dim" title={d.model}>{d.model}</div> },
    { key: "township", title: t("乡镇 / 部门"), width: "100px", cell: (d) => <div className="cut">{d.township_name}</div> },
    { key: "holder", title: t("持有人"), width: "minmax(96px,.7fr)", cell: (d) => (d.officer_name ? <div className="cut" title={d.officer_name}>{d.officer_name}</div> : <span className="dim">—</span>) },
    { key: "conn", title: t("连接"), width: "90px", cell: (d) => <Connection s={d.state} /> },
    { key: "self", title: t("状态"), width: "76px", cell: (d) => <SelfState s={d.state} /> },
    { key: "data", title: t("最近数据"), width: "90px", cell: (d) => ago(d.state.last_data_at, now, en) },
    { key: "dock", title: t("最近归站"), width: "90px", cell: (d) => shortTime(d.state.last_dock_at) },
    { key: "up", title: t("最近上传"), width: "90px", cell: (d) => shortTime(d.state.last_upload_at) },
    { key: "bat", title: t("电量 · 存储"), width: "116px", cell: (d) => (d.state.battery === undefined && d.state.storage_used === undefined ? <span className="dim">—</span> : <>{d.state.battery !== undefined && <span className={d.state.battery < 20 ? "warn" : ""}>{d.state.battery}%</span>}{d.state.storage_used !== undefined && <span className={d.state.storage_used > 85 ? "warn" : "sub"}>{d.state.battery !== undefined && " · "}{t("已用 {{n}}%", { n: d.state.storage_used })}</span>}</>) },
  ];
  return (
    <>
      <PageHead title={t("装备")} meta={all && <span>{t("{{n}} 台", { n: count(all.length) })}{(Object.keys(kindNames) as (keyof typeof kindNames)[]).filter((k) => sums.kinds.get(k)).map((k) => ` · ${t(kindNames[k])} ${count(sums.kinds.get(k))}`).join("")}</span>}>
        <span className={`status ${stream === "live" ? "good" : stream === "lost" ? "warn" : "dim"}`} role="status"><ApiOutlined />{stream === "live" ? t("实时") : stream === "lost" ? t("实时中断，正在重连") : t("连接中")}</span>
        <CopyLink />
      </PageHead>
      {all && (
        <div className="card" style={{ borderRadius: 0, borderWidth: "0 0 1px" }}>
          <div className="figs" data-testid="device-counts">
            <div><span className="status good"><WifiOutlined />{t("在线")}</span><b>{count(sums.on)}</b></div>
            <div><span className="status"><DisconnectOutlined />{t("离线")}</span><b>{count(sums.off)}</b></div>
            <div><span className="status warn"><QuestionCircleOutlined />{t("从未报到")}</span><b>{count(sums.never)}</b></div>
          </div>
        </div>
      )}
      <div className="filters">
        <TextFilter value={s.q} onChange={setText} placeholder={t("编号、持有人、型号")} width={200} />
        <Select aria-label={t("类型")} placeholder={t("类型：全部")} allowClear style={{ width: 140 }} value={s.kind} onChange={(kind?: DeviceSearch["kind"]) => set({ kind })} options={Object.entries(kindNames).map(([value, l]) => ({ value, label: t(l) }))} />
        <TownshipFilter value={s.township} onChange={(township) => set({ township })} />
        <Select aria-label={t("连接")} placeholder={t("连接：全部")} allowClear style={{ width: 140 }} value={s.connected === undefined ? undefined : s.connected ? "on" : "off"} onChange={(v?: string) => set({ connected: v === undefined ? undefined : v === "on" })} options={[{ value: "on", label: t("在线") }, { value: "off", label: t("不在线") }]} />
        <ClearFilters active={filtered} onClear={() => void navigate({ to: "/devices", search: {} })} />
        <span className="sub" style={{ marginLeft: "auto" }}>{all && `${count(rows.length)} / ${count(all.length)}`}</span>
      </div>
      {q.error && <div className="body"><ProblemView error={q.error} retry={() => void q.refetch()} /></div>}
      {q.isPending ? <div className="body"><Skeleton active paragraph={{ rows: 8 }} /></div> : all && (
        <VirtualTable label={t("装备")} rows={rows} columns={columns} rowKey={(d) => d.id} rowHeight={38} minWidth={1180} onOpen={(d) => void navigate({ to: "/devices/$id", params: { id: d.id } })}
          empty={filtered ? <Empty icon={<MobileOutlined />} title={t("没有符合筛选的装备")} /> : <Empty icon={<MobileOutlined />} title={t("还没有装备")}><p>{t("装备由购置记账或盘点登记后出现在这里。")}</p></Empty>} />
      )}
    </>
  );
}
