// The pages and their addresses. Filters, time and place live in the address; each page is a chunk of its own.
import { createRootRouteWithContext, createRoute, createRouter, lazyRouteComponent, Outlet, redirect, useRouter } from "@tanstack/react-router";
import type { QueryClient } from "@tanstack/react-query";
import { Problem } from "../api/client";
import { ProblemView } from "../ui/parts";
import { sessionQuery } from "./session";
import { Shell } from "./shell";
import { isKind, type ActivityKind } from "../lib/activities";
import { NotFound } from "./notfound";

type Raw = Record<string, unknown>;
const text = (v: unknown): string | undefined => (typeof v === "string" && v !== "" ? v : typeof v === "number" ? String(v) : undefined);
const whole = (v: unknown): number | undefined => {
  const n = typeof v === "number" ? v : typeof v === "string" && v !== "" ? Number(v) : NaN;
  return Number.isInteger(n) && n >= 0 ? n : undefined;
};
const seconds = (v: unknown): number | undefined => {
  const n = Number(v);
  return v !== undefined && v !== "" && Number.isFinite(n) && n >= 0 ? n : undefined;
};
const flag = (v: unknown): boolean | undefined => (v === true || v === "true" ? true : v === false || v === "false" ? false : undefined);

const root = createRootRouteWithContext<{ queries: QueryClient }>()({ component: Outlet, notFoundComponent: NotFound });

const signIn = createRoute({
  getParentRoute: () => root, path: "/sign-in",
  validateSearch: (s: Raw): { token?: string; to?: string } => ({ token: text(s.token), to: text(s.to) }),
  component: lazyRouteComponent(() => import("../pages/signin"), "SignIn"),
});

const password = createRoute({
  getParentRoute: () => root, path: "/password",
  component: lazyRouteComponent(() => import("../pages/signin"), "ChangePassword"),
});

/** The page can't even begin, for instance because the server is away: trying again asks for the session again. */
function Failed({ error }: { error: unknown }) {
  const router = useRouter();
  return <main className="body"><ProblemView error={error} retry={() => void router.invalidate()} /></main>;
}

const inside = createRoute({
  getParentRoute: () => root, id: "inside", component: Shell,
  errorComponent: Failed,
  beforeLoad: async ({ context, location }) => {
    try {
      const s = await context.queries.ensureQueryData(sessionQuery);
      if (s.must_change_password) throw redirect({ to: "/password" });
    } catch (e) {
      if (e instanceof Problem && e.status === 401) throw redirect({ to: "/sign-in", search: { to: location.href } });
      throw e;
    }
  },
});

const home = createRoute({
  getParentRoute: () => inside, path: "/",
  beforeLoad: async ({ context }) => {
    const s = await context.queries.ensureQueryData(sessionQuery);
    const p = s.permissions;
    throw redirect({ to: p.includes("evidence:read") ? "/evidence" : p.includes("budget:write") ? "/budget" : p.includes("device:read") ? "/devices" : "/log" });
  },
});

export type EvidenceSearch = { township?: string; status?: "pending" | "sealed" | "damaged" | "deleted"; verdict?: string; recorder?: string; device_id?: string; q?: string; from?: string; to?: string; late?: boolean; activity?: ActivityKind; activity_id?: string };
const evidence = createRoute({
  getParentRoute: () => inside, path: "/evidence",
  validateSearch: (s: Raw): EvidenceSearch => ({
    township: text(s.township), status: s.status === "pending" || s.status === "sealed" || s.status === "damaged" || s.status === "deleted" ? s.status : undefined, verdict: text(s.verdict),
    recorder: text(s.recorder), device_id: text(s.device_id), q: text(s.q), from: text(s.from), to: text(s.to), late: flag(s.late) || undefined,
    activity: isKind(s.activity) ? s.activity : undefined, activity_id: text(s.activity_id),
  }),
  component: lazyRouteComponent(() => import("../pages/evidence"), "EvidenceList"),
});
const evidenceOne = createRoute({
  getParentRoute: () => inside, path: "/evidence/$id",
  validateSearch: (s: Raw): { t?: number; m?: string } => ({ t: seconds(s.t), m: text(s.m) }),
  component: lazyRouteComponent(() => import("../pages/evidence-one"), "EvidencePage"),
});

const retention = createRoute({
  getParentRoute: () => inside, path: "/retention",
  validateSearch: (s: Raw): { township?: string; gone?: boolean } => ({ township: text(s.township), gone: flag(s.gone) || undefined }),
  component: lazyRouteComponent(() => import("../pages/retention"), "RetentionPage"),
});

export type ActivitySearch = { township?: string; day?: string };
const activities = createRoute({
  getParentRoute: () => inside, path: "/activities",
  validateSearch: (s: Raw): ActivitySearch => ({ township: text(s.township), day: typeof s.day === "string" && /^\d{4}-\d{2}-\d{2}$/.test(s.day) && !Number.isNaN(Date.parse(s.day)) ? s.day : undefined }),
  component: lazyRouteComponent(() => import("../pages/activities"), "ActivityList"),
});
const activityOne = createRoute({ getParentRoute: () => inside, path: "/activities/$id", component: lazyRouteComponent(() => import("../pages/activity-one"), "ActivityPage") });

export type CaseSearch = { township?: string; open?: boolean; q?: string };
const cases = createRoute({
  getParentRoute: () => inside, path: "/cases",
  validateSearch: (s: Raw): CaseSearch => ({ township: text(s.township), open: flag(s.open), q: text(s.q) }),
  component: lazyRouteComponent(() => import("../pages/cases"), "CaseList"),
});
const caseNew = createRoute({
  getParentRoute: () => inside, path: "/cases/new",
  validateSearch: (s: Raw): { evidence?: string; township?: string } => ({ evidence: text(s.evidence), township: text(s.township) }),
  component: lazyRouteComponent(() => import("../pages/case-new"), "CaseNew"),
});
const caseOne = createRoute({ getParentRoute: () => inside, path: "/cases/$id", component: lazyRouteComponent(() => import("../pages/case-one"), "CasePage") });

export type DeviceSearch = { township?: string; kind?: "recorder" | "dock" | "computer" | "printer" | "other"; connected?: boolean; q?: string };
const devices = createRoute({
  getParentRoute: () => inside, path: "/devices",
  validateSearch: (s: Raw): DeviceSearch => ({
    township: text(s.township), kind: ["recorder", "dock", "computer", "printer", "other"].includes(String(s.kind)) ? (s.kind as DeviceSearch["kind"]) : undefined,
    connected: flag(s.connected), q: text(s.q),
  }),
  component: lazyRouteComponent(() => import("../pages/devices"), "DeviceList"),
});
const deviceOne = createRoute({ getParentRoute: () => inside, path: "/devices/$id", component: lazyRouteComponent(() => import("../pages/device-one"), "DevicePage") });
const docks = createRoute({ getParentRoute: () => inside, path: "/docks", component: lazyRouteComponent(() => import("../pages/docks"), "Docks") });
const dockOne = createRoute({ getParentRoute: () => inside, path: "/docks/$id", component: lazyRouteComponent(() => import("../pages/docks"), "DockPage") });
const namePatterns = createRoute({ getParentRoute: () => inside, path: "/name-patterns", component: lazyRouteComponent(() => import("../pages/name-patterns"), "NamePatterns") });
export type LetterSearch = { source?: string; reason?: string; open?: boolean };
const deadLetters = createRoute({
  getParentRoute: () => inside, path: "/dead-letters",
  validateSearch: (s: Raw): LetterSearch => ({ source: text(s.source), reason: text(s.reason), open: flag(s.open) || undefined }),
  component: lazyRouteComponent(() => import("../pages/dead-letters"), "DeadLetters"),
});

const budget = createRoute({
  getParentRoute: () => inside, path: "/budget",
  validateSearch: (s: Raw): { year?: number } => ({ year: whole(s.year) }),
  component: lazyRouteComponent(() => import("../pages/budget"), "BudgetCounty"),
});
const budgetTown = createRoute({
  getParentRoute: () => inside, path: "/budget/$year/$township",
  validateSearch: (s: Raw): { posting?: string } => ({ posting: text(s.posting) }),
  component: lazyRouteComponent(() => import("../pages/budget-town"), "BudgetTown"),
});

const officers = createRoute({
  getParentRoute: () => inside, path: "/officers",
  validateSearch: (s: Raw): { township?: string; q?: string } => ({ township: text(s.township), q: text(s.q) }),
  component: lazyRouteComponent(() => import("../pages/officers"), "Officers"),
});
const powers = createRoute({
  getParentRoute: () => inside, path: "/power-items",
  validateSearch: (s: Raw): { township?: string; q?: string } => ({ township: text(s.township), q: text(s.q) }),
  component: lazyRouteComponent(() => import("../pages/powers"), "PowerItems"),
});
const townships = createRoute({ getParentRoute: () => inside, path: "/townships", component: lazyRouteComponent(() => import("../pages/townships"), "Townships") });
const log = createRoute({
  getParentRoute: () => inside, path: "/log",
  validateSearch: (s: Raw): { at?: number } => ({ at: whole(s.at) }),
  component: lazyRouteComponent(() => import("../pages/log"), "LogPage"),
});

const auditOne = createRoute({ getParentRoute: () => inside, path: "/log/audits/$id", component: lazyRouteComponent(() => import("../pages/audit-one"), "AuditPage") });

const tree = root.addChildren([signIn, password, inside.addChildren([home, evidence, evidenceOne, retention, activities, activityOne, cases, caseNew, caseOne, devices, deviceOne, docks, dockOne, deadLetters, namePatterns, budget, budgetTown, officers, powers, townships, log, auditOne])]);

export const makeRouter = (queries: QueryClient) => createRouter({
  routeTree: tree, context: { queries }, defaultPreload: "intent", defaultPreloadStaleTime: 0, scrollRestoration: true, defaultNotFoundComponent: NotFound,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
