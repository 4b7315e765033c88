// The townships and departments one may see.
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { townshipsQuery, useMay } from "../app/session";
import { count, today } from "../lib/format";
import { Loaded, PageHead } from "../ui/parts";

const kinds: Record<string, string> = { town: "镇", township: "乡", subdistrict: "街道", department: "县级部门", county: "县" };

export function Townships() {
  const { t } = useTranslation();
  const may = useMay();
  const q = useQuery(townshipsQuery);
  const year = today().slice(0, 4);
  return (
    <>
      <PageHead title={t("乡镇与部门")} meta={q.data && t("{{n}} 个", { n: q.data.length })} />
      <Loaded q={q}>{(rows) => (
        <div className="body"><div className="card scrollx" tabIndex={0} role="region" aria-label={t("乡镇与部门")}>
          <table className="plain">
            <thead><tr><th>{t("名称")}</th><th>{t("类别")}</th><th>{t("区划代码")}</th><th className="num">{t("执法人员")}</th><th className="num">{t("权力事项")}</th><th>{t("去看")}</th></tr></thead>
            <tbody>{rows.map((x) => (
              <tr key={x.code}>
                <td><b>{x.name}</b></td><td>{t(kinds[x.kind] ?? x.kind)}</td><td className="mono">{x.code}</td><td className="num">{count(x.officers)}</td><td className="num">{count(x.power_items)}</td>
                <td><span className="row wrap">
                  <Link to="/officers" search={{ township: x.code }}>{t("人员")}</Link>
                  <Link to="/power-items" search={{ township: x.code }}>{t("事项")}</Link>
                  {may("evidence:read") && <Link to="/evidence" search={{ township: x.code }}>{t("证据")}</Link>}
                  {may("case:read") && <Link to="/cases" search={{ township: x.code }}>{t("案件")}</Link>}
                  {may("budget:read") && /^\d{9}$/.test(x.code) && <Link to="/budget/$year/$township" params={{ year, township: x.code }}>{t("经费")}</Link>}
                </span></td>
              </tr>
            ))}</tbody>
          </table>
        </div></div>
      )}</Loaded>
    </>
  );
}
