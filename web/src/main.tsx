import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { App, ConfigProvider } from "antd";
import "antd/dist/reset.css";
import enUS from "antd/locale/en_US";
import zhCN from "antd/locale/zh_CN";
import dayjs from "dayjs";
import "dayjs/locale/zh-cn";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { useTranslation } from "react-i18next";
import { Problem, whenSignedOut } from "./api/client";
import "./app/app.css";
import { startI18n } from "./app/i18n";
import { makeRouter } from "./app/router";
import { sessionQuery } from "./app/session";
import { startTheme, themes, useMode } from "./app/theme";

const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 10_000,
      retry: (n, e) => n < 2 && e instanceof Problem && (e.status === 0 || e.status >= 500),
    },
  },
});
const router = makeRouter(queries);

whenSignedOut(() => {
  if (router.state.location.pathname === "/sign-in") return;
  queries.removeQueries({ queryKey: sessionQuery.queryKey });
  void router.navigate({ to: "/sign-in", search: { to: router.state.location.href } });
});

function Root() {
  const mode = useMode();
  const { i18n } = useTranslation();
  const en = i18n.language === "en";
  dayjs.locale(en ? "en" : "zh-cn");
  return (
    <ConfigProvider theme={themes[mode]} locale={en ? enUS : zhCN} button={{ autoInsertSpace: false }}>
      <App style={{ height: "100%" }}>
        <RouterProvider router={router} />
      </App>
    </ConfigProvider>
  );
}

startTheme();
void startI18n().then(() => {
  const at = document.getElementById("root");
  if (at) createRoot(at).render(<StrictMode><QueryClientProvider client={queries}><Root /></QueryClientProvider></StrictMode>);
});
