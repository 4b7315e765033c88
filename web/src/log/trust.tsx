import { useTranslation } from "react-i18next";
import type { Schemas } from "../api/client";
import { groups } from "../lib/format";
import { Card, CopyText } from "../ui/parts";

/** Who stands behind the log: its checkpoint and its key. */
export function Trust({ l }: { l: Schemas["LogState"] }) {
  const { t } = useTranslation();
  return (
    <>
      <Card title={t("最新存证点")} acts={<CopyText text={l.checkpoint} label={t("复制存证点")} />}><pre className="note" tabIndex={0}>{l.checkpoint || "—"}</pre></Card>
      <Card title={t("公钥")} acts={<CopyText text={l.vkey} label={t("复制公钥")} />}>
        <dl className="facts"><dt>{t("来源名")}</dt><dd>{l.origin}</dd><dt>{t("校验公钥")}</dt><dd className="mono">{l.vkey}</dd><dt>{t("树根")}</dt><dd className="mono">{groups(l.root)}</dd></dl>
        <p className="sub" style={{ marginTop: 12 }}>{t("公钥要从平台以外的渠道核对。离线校验：")}</p>
        <pre className="note" style={{ marginTop: 4 }} tabIndex={0}>zhizheng-verify --trust zhizheng-vkey.txt {t("证据包")}.zip</pre>
      </Card>
    </>
  );
}
