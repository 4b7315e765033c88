// Filters that live in the address.
import { CloseOutlined } from "@ant-design/icons";
import { useQuery } from "@tanstack/react-query";
import { Button, Input, Select } from "antd";
import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { townshipsQuery } from "../app/session";

export function TownshipFilter({ value, onChange }: { value?: string; onChange: (v?: string) => void }) {
  const { t } = useTranslation();
  const q = useQuery(townshipsQuery);
  return (
    <Select aria-label={t("乡镇")} placeholder={t("乡镇：全部")} allowClear showSearch={{ optionFilterProp: "label" }} style={{ width: 150 }} value={value} onChange={(v?: string) => onChange(v)} loading={q.isPending}
      options={q.data?.map((x) => ({ value: x.code, label: x.name }))} />
  );
}

/** Asks after a short rest of the hands, and at once on Enter. */
export function TextFilter({ value, onChange, placeholder, width = 200 }: { value?: string; onChange: (v?: string) => void; placeholder: string; width?: number }) {
  const [s, setS] = useState(value ?? "");
  const [seen, setSeen] = useState(value);
  if (seen !== value) {
    setSeen(value);
    setS(value ?? "");
  }
  useEffect(() => {
    if (s.trim() === (value ?? "")) return;
    const h = setTimeout(() => onChange(s.trim() || undefined), 300);
    return () => clearTimeout(h);
  }, [s, value, onChange]);
  return <Input aria-label={placeholder} placeholder={placeholder} allowClear maxLength={80} style={{ width }} value={s} onChange={(e) => setS(e.target.value)} onPressEnter={() => onChange(s.trim() || undefined)} />;
}

export function ClearFilters({ active, onClear }: { active: boolean; onClear: () => void }) {
  const { t } = useTranslation();
  if (!active) return null;
  return <Button type="link" icon={<CloseOutlined />} onClick={onClear}>{t("清除筛选")}</Button>;
}
