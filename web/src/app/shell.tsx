// The frame around every page: what one may do at the left, the state of the log and the search at the top.
import { AuditOutlined, CloseOutlined, DatabaseOutlined, FieldTimeOutlined, FileSearchOutlined, FolderOpenOutlined, IdcardOutlined, MailOutlined, MenuOutlined, MobileOutlined, MoonOutlined, SafetyCertificateOutlined, ScheduleOutlined, SearchOutlined, SunOutlined, VideoCameraOutlined, WalletOutlined, HomeOutlined, WarningOutlined, UsbOutlined } from "@ant-design/icons";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useLocation, useNavigate, useRouter } from "@tanstack/react-router";
import { App, Button, Dropdown, Input, type InputRef, Tooltip } from "antd";
import { useEffect, useRef, useState, type ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap } from "../api/client";
import { ago, count, dateTime } from "../lib/format";
import { inert } from "../lib/keys";
import { logQuery, useNow } from "../lib/live";
import { usePageTitle } from "../lib/title";
import { setLanguage } from "./i18n";
import { may, sessionQuery, townshipsQuery } from "./session";
import { setMode, useMode } from "./theme";

type Item = { to: "/evidence" | "/retention" | "/activities" | "/cases" | "/devices" | "/docks" | "/dead-letters" | "/name-patterns" | "/budget" | "/officers" | "/power-items" | "/townships" | "/log"; icon: ReactNode; name: string; needs: string };
const menu: { name: string; items: Item[] }[] = [
  { name: "证据", items: [{ to: "/evidence", icon: <VideoCameraOutlined />, name: "证据库", needs: "evidence:read" }, { to: "/retention", icon: <FieldTimeOutlined />, name: "到期清理", needs: "evidence:read" }] },
  { name: "办案", items: [{ to: "/activities", icon: <ScheduleOutlined />, name: "执法活动", needs: "case:read" }, { to: "/cases", icon: <FolderOpenOutlined />, name: "案件", needs: "case:read" }] },
  { name: "装备与经费", items: [
    { to: "/devices", icon: <MobileOutlined />, name: "装备", needs: "device:read" },
    { to: "/docks", icon: <UsbOutlined />, name: "采集站", needs: "device:read" },
    { to: "/dead-letters", icon: <MailOutlined />, name: "拒收报文", needs: "device:write" },
    { to: "/name-patterns", icon: <FileSearchOutlined />, name: "文件名规则", needs: "device:read" },
    { to: "/budget", icon: <WalletOutlined />, name: "经费台账", needs: "budget:read" }] },
  { name: "组织", items: [
    { to: "/officers", icon: <IdcardOutlined />, name: "执法人员", needs: "authority:read" },
    { to: "/power-items", icon: <AuditOutlined />, name: "权力事项", needs: "authority:read" },
    { to: "/townships", icon: <HomeOutlined />, name: "乡镇与部门", needs: "authority:read" }] },
  { name: "可信", items: [{ to: "/log", icon: <SafetyCertificateOutlined />, name: "证据册", needs: "log:read" }] },
];

export function Shell() {
  const { t } = useTranslation();
  const path = useLocation({ select: (l) => l.pathname });
  const s = useQuery(sessionQuery).data;
  const narrow = /^\/evidence\/./.test(path);
  const page = useRef<HTMLElement>(null);
  const first = useRef(true);
  const [open, setOpen] = useState(false); // the menu on a phone
  const [was, setWas] = useState(path);
  if (was !== path) {
    setWas(path);
    setOpen(false);
  }
  const side = useRef<HTMLElement>(null);
  const opener = useRef<HTMLButtonElement>(null);
  const close = () => {
    setOpen(false);
    opener.current?.focus();
  };
  useEffect(() => {
    if (open) side.current?.querySelector("a")?.focus();
  }, [open]);
  useEffect(() => {
    // a reader of the page by ear starts at its top after each change of page
    if (first.current) first.current = false;
    else page.current?.focus({ preventScroll: true });
  }, [path]);
  return (
    <div className={`shell ${narrow ? "narrow" : ""} ${open ? "open" : ""}`}>
      <a className="skip" href="#page" onClick={(e) => { e.preventDefault(); page.current?.focus(); }}>{t("跳到正文")}</a>
      {open && <div className="veil" onClick={close} />}
      <aside id="side" className="side" ref={side} aria-label={t("导航")} onKeyDown={(e) => { if (open && e.key === "Escape") close(); }}>
        {open && <Button type="text" className="shut" icon={<CloseOutlined />} aria-label={t("关闭菜单")} onClick={close} />}
        <Link to="/" className="brand" aria-label={t("执证首页")}><img src="/icon.svg" alt="" /><span>{t("执证")}</span></Link>
        <nav aria-label={t("主菜单")}>
          {menu.map((g) => {
            const items = g.items.filter((i) => may(s, i.needs));
            if (!items.length) return null;
            return (
              <div key={g.name}>
                <h2>{t(g.name)}</h2>
                <ul>
                  {items.map((i) => (
                    <li key={i.to}>
                      <Tooltip title={narrow ? t(i.name) : ""} placement="right">
                        <Link to={i.to} className={path === i.to || path.startsWith(i.to + "/") ? "active" : ""} aria-label={t(i.name)}>{i.icon}<span className="label">{t(i.name)}</span></Link>
                      </Tooltip>
                    </li>
                  ))}
                </ul>
              </div>
            );
          })}
        </nav>
        <Who />
      </aside>
      <div className="main">
        <Top menu={<Button ref={opener} type="text" className="opener" icon={<MenuOutlined />} aria-label={t("打开菜单")} aria-expanded={open} aria-controls="side" onClick={() => setOpen(true)} />} />
        <main id="page" className="page" tabIndex={-1} ref={page}><Outlet /><PrintFoot /></main>
      </div>
    </div>
  );
}

function Who() {
  const { t, i18n } = useTranslation();
  const { message } = App.useApp();
  const s = useQuery(sessionQuery).data;
  const towns = useQuery(townshipsQuery).data;
  const mode = useMode();
  const queries = useQueryClient();
  const navigate = useNavigate();
  if (!s) return null;
  const first = s.townships[0];
  const place = s.whole_county ? t("全县") : first ? (towns?.find((x) => x.code === first)?.name ?? first) + (s.townships.length > 1 ? t(" 等 {{n}} 处", { n: s.townships.length }) : "") : t("无乡镇范围");
  const signOut = async () => {
    try {
      await unwrap(client.DELETE("/api/v1/session"));
      await navigate({ to: "/sign-in" }); // first: what is still on the screen would ask again
      queries.clear();
    } catch (e) {
      void message.error(e instanceof Error ? e.message : String(e));
    }
  };
  return (
    <div className="who">
      <Dropdown trigger={["click"]} placement="topLeft" menu={{ items: [
        { key: "lang", label: i18n.language === "en" ? "中文" : "English", onClick: () => void setLanguage(i18n.language === "en" ? "zh-CN" : "en") },
        { key: "mode", icon: mode === "dark" ? <SunOutlined /> : <MoonOutlined />, label: mode === "dark" ? t("浅色") : t("深色"), onClick: () => setMode(mode === "dark" ? "light" : "dark") },
        { key: "password", label: t("修改密码"), onClick: () => void navigate({ to: "/password" }) },
        { type: "divider" },
        { key: "out", danger: true, label: t("退出登录"), onClick: () => void signOut() },
      ] }}>
        <button type="button">
          <span className="visually-hidden">{t("{{name}}，{{place}}，{{role}}：账号菜单", { name: s.name, place, role: t(s.role_name) })}</span>
          <span className="face" aria-hidden>{s.name.slice(0, 1)}</span>
          <span className="label cut" aria-hidden><b className="cut">{s.name}</b><br /><span className="sub">{place} · {t(s.role_name)}</span></span>
        </button>
      </Dropdown>
    </div>
  );
}

function Top({ menu: opener }: { menu: ReactNode }) {
  const { t } = useTranslation();
  const s = useQuery(sessionQuery).data;
  const path = useLocation({ select: (l) => l.pathname });
  const navigate = useNavigate();
  const router = useRouter();
  const now = useNow(1000);
  const box = useRef<InputRef>(null);
  const title = usePageTitle();
  const [q, setQ] = useState("");
  useEffect(() => {
    const on = (e: KeyboardEvent) => {
      if (e.key !== "/" || inert(e)) return;
      e.preventDefault();
      box.current?.focus({ cursor: "all" });
    };
    addEventListener("keydown", on);
    return () => removeEventListener("keydown", on);
  }, []);
  const here = menu.flatMap((g) => g.items).find((i) => path === i.to || path.startsWith(i.to + "/"));
  const search = () => {
    const v = q.trim();
    if (!v) return;
    const onCases = path.startsWith("/cases") || !may(s, "evidence:read");
    if (onCases && may(s, "case:read")) void navigate({ to: "/cases", search: { q: v } });
    else if (path.startsWith("/devices") || !may(s, "evidence:read")) void navigate({ to: "/devices", search: { q: v } });
    else void navigate({ to: "/evidence", search: { q: v } });
  };
  return (
    <header className="top">
      {opener}
      <div className="crumbs grow">
        {here && (path === here.to ? <b className="cut">{t(here.name)}</b> : (
          <><Link to={here.to} className="nowrap">{t(here.name)}</Link><span aria-hidden>/</span><button type="button" className="visually-hidden" onClick={() => router.history.back()}>{t("返回")}</button><b className="cut">{title}</b></>
        ))}
      </div>
      {s?.demo && <span className="demo">{t("示例数据 · 人员与村名虚构")}</span>}
      {may(s, "log:read") && <LogState now={now} />}
      {(may(s, "evidence:read") || may(s, "case:read") || may(s, "device:read")) && (
        <Input ref={box} className="search" size="middle" prefix={<SearchOutlined aria-hidden />} suffix={<span className="kbd" aria-hidden>/</span>} aria-label={t("搜索")} maxLength={100}
          placeholder={path.startsWith("/cases") ? t("案号、案由") : path.startsWith("/devices") ? t("编号、序列号") : t("文件名、编号、记录仪")} value={q} onChange={(e) => setQ(e.target.value)} onPressEnter={search} />
      )}
      <time className="sub nowrap clock" dateTime={new Date(now).toISOString()}>{dateTime(new Date(now)).slice(5)}</time>
    </header>
  );
}

/** Paper says who printed it, when, and where the page is. */
function PrintFoot() {
  const { t } = useTranslation();
  const s = useQuery(sessionQuery).data;
  const href = useLocation({ select: (l) => l.href });
  const now = useNow(1000);
  return <p className="printfoot">{t("{{name}} 于 {{time}} 打印", { name: s?.name ?? "—", time: dateTime(new Date(now)) })} · {location.origin}{href}</p>;
}

function LogState({ now }: { now: number }) {
  const { t, i18n } = useTranslation();
  const q = useQuery(logQuery);
  if (q.error) return <span className="state status bad sub"><WarningOutlined />{t("证据册状态未知")}</span>;
  if (!q.data) return null;
  const l = q.data;
  return (
    <Link to="/log" className={`state sub row nowrap ${l.halted ? "bad" : ""}`}>
      {l.halted ? <WarningOutlined /> : <DatabaseOutlined className="good" />}
      <span>{l.halted ? t("证据册停签：{{why}}", { why: l.halted }) : t("证据册 {{n}} 页 · 存证点 {{ago}}", { n: count(l.size), ago: ago(l.checkpoint_at, now, i18n.language === "en") })}</span>
    </Link>
  );
}

