import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { useTitle } from "../lib/title";

export function NotFound() {
  const { t } = useTranslation();
  useTitle(t("没有这个页面"));
  return <main className="empty"><h1>{t("没有这个页面")}</h1><Link to="/">{t("回到首页")}</Link></main>;
}
