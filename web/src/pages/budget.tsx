// A year of every township one may see: allotted, spent, left.
import { LeftOutlined, RightOutlined } from "@ant-design/icons";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { Button } from "antd";
import { useTranslation } from "react-i18next";
import { client, unwrap } from "../api/client";
import { today, wan } from "../lib/format";
import { CopyLink, Empty, Loaded, PageHead } from "../ui/parts";

export function Meter({ spent, allotted }: { spent: number; allotted: number }) {
  const part = allotted > 0 ? Math.min(100, (spent / allotted) * 100) : 0;
  return <div className="meter" aria-hidden><i style={{ width: `${part}%`, background: spent > allotted ? "var(--bad)" : undefined }} /></div>;
}

export function BudgetCounty() {
  const { t } = useTranslation();
  const s = useSearch({ from: "/inside/budget" });
  const navigate = useNavigate();
  const year = s.year ?? Number(today().slice(0, 4));
  const q = useQuery({ queryKey: ["budget", year], queryFn: async ({ signal }) => (await unwrap(client.GET("/api/v1/budget/years/{year}", { params: { path: { year } }, signal }))).items });
  const sum = (k: "allotted_fen" | "spent_fen" | "left_fen") => (q.data ?? []).reduce((n, x) => n + x[k], 0);
  const go = (y: number) => void navigate({ to: "/budget", search: { year: y } });
  return (
    <>
      <PageHead title={t("{{y}} 年执法经费", { y: year })} meta={t("单位 万元 · 每年每乡镇 2–5 万元，公式见各乡镇")}>
        <Button icon={<LeftOutlined />} aria-label={t("上一年")} disabled={year <= 2020} onClick={() => go(year - 1)} />
        <Button icon={<RightOutlined />} aria-label={t("下一年")} disabled={year >= 2100} onClick={() => go(year + 1)} />
        <CopyLink />
      </PageHead>
      <Loaded q={q}>{(rows) => rows.length === 0 ? <div className="body"><div className="card"><Empty title={t("{{y}} 年还没有核定额度", { y: year })} /></div></div> : (
        <div className="body">
          <div className="card"><div className="figs">
            <div>{t("核定")}<b>{wan(sum("allotted_fen"))}</b></div>
            <div>{t("已付")}<b>{wan(sum("spent_fen"))}</b></div>
            <div>{t("可用")}<b>{wan(sum("left_fen"))}</b></div>
            <div>{t("乡镇")}<b>{rows.length}</b></div>
          </div></div>
          <div className="card scrollx" tabIndex={0} role="region" aria-label={t("各乡镇经费")}>
            <table className="plain">
              <thead><tr><th>{t("乡镇")}</th><th className="num">{t("核定")}</th><th className="num">{t("已付")}</th><th className="num">{t("可用")}</th><th style={{ width: "40%" }}>{t("执行进度")}</th></tr></thead>
              <tbody>{rows.map((y) => (
                <tr key={y.township}>
                  <td><Link to="/budget/$year/$township" params={{ year: String(y.year), township: y.township }}>{y.township_name}</Link></td>
                  <td className="num">{wan(y.allotted_fen)}</td><td className="num">{wan(y.spent_fen)}</td><td className={`num ${y.left_fen < 0 ? "bad" : ""}`}>{wan(y.left_fen)}</td>
                  <td><div className="row"><div className="grow"><Meter spent={y.spent_fen} allotted={y.allotted_fen} /></div><span className="sub" style={{ width: 44, textAlign: "right" }}>{y.allotted_fen ? `${((y.spent_fen / y.allotted_fen) * 100).toFixed(1)}%` : "—"}</span></div></td>
                </tr>
              ))}</tbody>
            </table>
          </div>
        </div>
      )}</Loaded>
    </>
  );
}
