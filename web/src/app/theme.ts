// Colours that pass AA with antd, light and dark; the same values as CSS variables are in app.css.
import { theme, type ThemeConfig } from "antd";
import { useSyncExternalStore } from "react";

export type Mode = "light" | "dark";

const common = { borderRadius: 6, borderRadiusLG: 8, borderRadiusSM: 4, controlHeight: 30, controlHeightSM: 26, fontSize: 13, motion: false as const,
  fontFamily: '-apple-system, "Segoe UI", "Noto Sans CJK SC", "Noto Sans SC", "PingFang SC", "Microsoft YaHei", sans-serif' };

export const themes: Record<Mode, ThemeConfig> = {
  light: {
    algorithm: theme.defaultAlgorithm,
    token: { ...common, colorPrimary: "#0958d9", colorInfo: "#0958d9", colorLink: "#0958d9", colorPrimaryHover: "#003eb3", colorLinkHover: "#003eb3", colorSuccess: "#237804", colorError: "#cf1322", colorWarning: "#ad4e00",
      colorText: "#1f2329", colorTextSecondary: "#4b5563", colorTextTertiary: "#646a73", colorTextPlaceholder: "#646a73",
      colorTextDisabled: "rgba(0,0,0,.56)", colorBorder: "#d0d5dc", colorBorderSecondary: "#e3e6eb", colorBgLayout: "#f5f6f8" },
  },
  dark: {
    algorithm: theme.darkAlgorithm,
    token: { ...common, colorPrimary: "#1668dc", colorInfo: "#1668dc", colorLink: "#7ab0ff", colorLinkHover: "#a3c8ff", colorSuccess: "#7ccf57", colorError: "#ff8a84", colorWarning: "#f2a65a",
      colorText: "#e6e8eb", colorTextSecondary: "#b7bdc6", colorTextTertiary: "#a0a7b1", colorTextPlaceholder: "#a0a7b1",
      colorTextDisabled: "rgba(255,255,255,.6)", colorBgLayout: "#14171b", colorBgContainer: "#1c2026", colorBgElevated: "#242930",
      colorBorder: "#454c56", colorBorderSecondary: "#31373f", colorPrimaryText: "#7ab0ff", colorErrorText: "#ff8a84" },
    components: { Button: { colorPrimaryHover: "#1554ad", defaultHoverColor: "#7ab0ff", defaultHoverBorderColor: "#7ab0ff" } },
  },
};

const listeners = new Set<() => void>();
let mode: Mode = "light";

export function startTheme() {
  let kept: string | null = null;
  try {
    kept = localStorage.getItem("zz-theme");
  } catch {
    // storage may be switched off by policy
  }
  set(kept === "dark" || kept === "light" ? kept : matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light", false);
}

function set(m: Mode, keep: boolean) {
  mode = m;
  document.documentElement.dataset.theme = m;
  if (keep) {
    try {
      localStorage.setItem("zz-theme", m);
    } catch {
      // without storage the choice lasts until the page is closed
    }
  }
  for (const l of listeners) l();
}

export function setMode(m: Mode) {
  set(m, true);
}

export function useMode(): Mode {
  return useSyncExternalStore((l) => (listeners.add(l), () => listeners.delete(l)), () => mode);
}
