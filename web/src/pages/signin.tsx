// Sign-in by password or by a one-time link, and the change of one's password.
import { SafetyCertificateOutlined, TeamOutlined, VideoCameraOutlined } from "@ant-design/icons";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { Button, Form, Input, Spin } from "antd";
import { useEffect, useRef, type ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap, type Session } from "../api/client";
import { setLanguage } from "../app/i18n";
import { sessionQuery } from "../app/session";
import { useTitle } from "../lib/title";
import { ProblemView } from "../ui/parts";

/** Only an address inside the console is followed after the sign-in. */
export function safeTarget(to: string | undefined): string {
  return to && /^\/(?![/\\])/.test(to) && !to.startsWith("/sign-in") ? to : "/";
}

function Gate({ children }: { children: ReactNode }) {
  const { t, i18n } = useTranslation();
  return (
    <main className="gate">
      <div className="say">
        <h1>{t("执证 · 乡镇执法证据平台")}</h1>
        <ul>
          <li><VideoCameraOutlined aria-hidden />{t("影像一入站，指纹先入册；封存之后，谁也改不了一个字节。")}</li>
          <li><TeamOutlined aria-hidden />{t("谁看过、谁导出、用于哪个案件，每一步都有册页。")}</li>
          <li><SafetyCertificateOutlined aria-hidden />{t("证据包离线可验，不必相信本平台。")}</li>
        </ul>
      </div>
      <div className="form">
        <div>{children}</div>
        <div style={{ marginTop: 24 }}><Button type="link" style={{ padding: 0 }} onClick={() => void setLanguage(i18n.language === "en" ? "zh-CN" : "en")}>{i18n.language === "en" ? "中文" : "English"}</Button></div>
      </div>
    </main>
  );
}

export function SignIn() {
  const { t } = useTranslation();
  useTitle(t("登录"));
  const { token, to } = useSearch({ from: "/sign-in" });
  const navigate = useNavigate();
  const queries = useQueryClient();
  const enter = async (s: Session) => {
    queries.clear();
    queries.setQueryData(sessionQuery.queryKey, s);
    if (s.must_change_password) await navigate({ to: "/password", replace: true });
    else await navigate({ href: safeTarget(to), replace: true });
  };
  const link = useMutation({ mutationFn: (tok: string) => unwrap(client.POST("/api/v1/session/link", { body: { token: tok } })), onSuccess: enter });
  const signIn = useMutation({ mutationFn: (v: { username: string; password: string }) => unwrap(client.POST("/api/v1/session", { body: v })), onSuccess: enter });
  const used = useRef<string>(undefined); // a link works once: strict mode's second effect must not spend it again
  useEffect(() => {
    if (!token || used.current === token) return;
    used.current = token;
    link.mutate(token);
  }, [token, link]);
  if (token && !link.error) return <Gate><Spin /> <span>{t("正在用一次性链接登录…")}</span></Gate>;
  return (
    <Gate>
      <h2 style={{ fontSize: 22, lineHeight: "30px", marginBottom: 16 }}>{t("登录")}</h2>
      {link.error && <div style={{ marginBottom: 16 }}><ProblemView error={link.error} /></div>}
      <Form layout="vertical" requiredMark={false} onFinish={(v: { username: string; password: string }) => signIn.mutate({ username: v.username.trim(), password: v.password })}>
        <Form.Item name="username" label={t("用户名")} rules={[{ required: true, whitespace: true, message: t("请输入用户名") }]}><Input autoFocus autoComplete="username" maxLength={80} size="large" /></Form.Item>
        <Form.Item name="password" label={t("密码")} rules={[{ required: true, message: t("请输入密码") }]}><Input.Password autoComplete="current-password" maxLength={200} size="large" /></Form.Item>
        {signIn.error && <div style={{ marginBottom: 16 }}><ProblemView error={signIn.error} /></div>}
        <Button type="primary" htmlType="submit" block size="large" loading={signIn.isPending}>{t("登录")}</Button>
      </Form>
      <p className="sub" style={{ marginTop: 16 }}>{t("没有账号或忘记密码：请联系本县系统管理员。离开 30 分钟后须重新登录。")}</p>
    </Gate>
  );
}

export function ChangePassword() {
  const { t } = useTranslation();
  useTitle(t("修改密码"));
  const navigate = useNavigate();
  const queries = useQueryClient();
  const s = useQuery(sessionQuery);
  const change = useMutation({
    mutationFn: (v: { current?: string; next: string }) => unwrap(client.POST("/api/v1/session/password", { body: { current: v.current ?? "", new: v.next } })),
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: sessionQuery.queryKey });
      await navigate({ to: "/" });
    },
  });
  if (s.error) return <Gate><ProblemView error={s.error} retry={() => void navigate({ to: "/sign-in" })} /></Gate>;
  return (
    <Gate>
      <h2 style={{ fontSize: 22, lineHeight: "30px", marginBottom: 16 }}>{s.data?.must_change_password ? t("设置密码") : t("修改密码")}</h2>
      <Form layout="vertical" requiredMark={false} onFinish={(v: { current?: string; next: string }) => change.mutate(v)}>
        <Form.Item name="current" label={s.data?.must_change_password ? t("现密码（由一次性链接进入的不必填）") : t("现密码")} rules={[{ required: !s.data?.must_change_password, message: t("请输入现密码") }]}><Input.Password autoComplete="current-password" maxLength={200} /></Form.Item>
        <Form.Item name="next" label={t("新密码（至少 12 位，不含用户名）")} rules={[{ required: true, min: 12, message: t("至少 12 位") }]}><Input.Password autoComplete="new-password" maxLength={200} /></Form.Item>
        <Form.Item name="again" label={t("再输一次")} dependencies={["next"]} rules={[({ getFieldValue }) => ({ validator: (_, v) => (v === getFieldValue("next") ? Promise.resolve() : Promise.reject(new Error(t("两次输入不一致")))) })]}><Input.Password autoComplete="new-password" maxLength={200} /></Form.Item>
        {change.error && <div style={{ marginBottom: 16 }}><ProblemView error={change.error} /></div>}
        <div className="row"><Button type="primary" htmlType="submit" loading={change.isPending}>{t("保存")}</Button>{!s.data?.must_change_password && <Button onClick={() => void navigate({ to: "/" })}>{t("取消")}</Button>}</div>
      </Form>
    </Gate>
  );
}
