import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { useTitle } from "../lib/title";
import { Empty } from "../ui/parts";

export function NotFound() {
  const { t } = useTranslation();
  useTitle(t("没有这个页面"));
  return <main><Empty title={t("没有这个页面")}><Link to="/">{t("回到首页")}</Link></Empty></main>;
}
