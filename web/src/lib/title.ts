// The page's name: in the browser's tab and in the top bar.
import { useEffect, useSyncExternalStore } from "react";
import { useTranslation } from "react-i18next";

let title = "";
const listeners = new Set<() => void>();

function set(s: string) {
  title = s;
  for (const l of listeners) l();
}

export function useTitle(name: string) {
  const { t, i18n } = useTranslation();
  useEffect(() => {
    set(name);
    document.title = `${name} · ${t("执证")}`;
    return () => set("");
  }, [name, t, i18n.language]);
}

export function usePageTitle(): string {
  return useSyncExternalStore((l) => (listeners.add(l), () => listeners.delete(l)), () => title);
}
