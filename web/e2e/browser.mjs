// One browser, watched: whatever goes wrong behind the page (a console error, a failed request, a violated policy, an answer nobody
// expected) fails the step in which it happened. Each page is scanned by axe twice: as it is used, and opened by its address in dark.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const patience = 60_000; // how long a condition may take to become true on a busy machine
const size = { width: 1440, height: 900 };

function program() {
  for (const name of ["chromium", "google-chrome"]) {
    try {
      return execFileSync("sh", ["-c", `command -v ${name}`], { encoding: "utf8" }).trim();
    } catch {
      // the other one
    }
  }
  throw new Error("neither chromium nor google-chrome is installed: run deploy/setup test");
}

export class Browser {
  #browser;
  #context;
  #expected = [];
  #wrong = [];
  #seen = new Set();
  scans = 0;

  constructor(url, out) {
    this.url = url;
    this.out = out;
    mkdirSync(out, { recursive: true });
  }

  async start() {
    this.#browser = await chromium.launch({ executablePath: program(), args: ["--disable-gpu", ...(process.getuid?.() === 0 ? ["--no-sandbox"] : [])] }); // drawing with an imitated GPU costs more than without
    this.#context = await this.#browser.newContext({ baseURL: this.url, locale: "zh-CN", timezoneId: "Asia/Shanghai", viewport: size, acceptDownloads: true, colorScheme: "light" });
    this.#context.setDefaultTimeout(patience);
    await this.#context.addInitScript(() => addEventListener("securitypolicyviolation", (e) => console.error(`policy violated: ${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}:${e.lineNumber}`)));
    this.page = await this.#open("light");
    this.dark = await this.#open("dark");
    await this.page.bringToFront();
  }

  async #open(colorScheme) {
    const p = await this.#context.newPage();
    await p.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    const wrong = (what) => this.#wrong.push(`${colorScheme} ${new URL(p.url(), this.url).pathname}: ${what}`);
    p.on("console", (m) => {
      // the answer itself is judged below
      if (m.type() === "error" && !m.text().startsWith("Failed to load resource: the server responded with a status of")) wrong(`console: ${m.text()}`);
    });
    p.on("pageerror", (e) => wrong(`exception: ${e.stack ?? e.message}`));
    p.on("crash", () => wrong("the page crashed"));
    p.on("requestfailed", (r) => {
      const why = r.failure()?.errorText;
      if (why !== "net::ERR_ABORTED") wrong(`request failed: ${r.method()} ${r.url()} ${why}`); // aborted: by the page itself, when it is left or sought in
    });
    p.on("response", (r) => {
      if (r.status() < 400) return;
      const path = new URL(r.url()).pathname;
      const i = this.#expected.findIndex((x) => x.status === r.status() && x.path === path);
      if (i >= 0) this.#expected.splice(i, 1);
      else wrong(`answer ${r.status()}: ${r.request().method()} ${path}`);
    });
    return p;
  }

  /** Announces an answer that a step provokes; it must come. */
  expect(status, path) {
    this.#expected.push({ status, path });
  }

  /** Ends a step: what went wrong behind the pages in it. */
  found() {
    return [...this.#wrong.splice(0), ...this.#expected.splice(0).map((x) => `expected and never came: ${x.status} ${x.path}`)];
  }

  /** Scans with the pointer aside, because what it rests on looks otherwise, then with it on each of under. */
  async #scan(page, name, mode, under = []) {
    await page.mouse.move(size.width - 1, size.height - 1);
    await this.#axe(page, name, mode);
    for (const place of under) {
      await place(page).hover();
      await this.#axe(page, `${name} under the pointer`, mode, await place(page).elementHandle());
    }
  }

  async #axe(page, name, mode, part = null) {
    await page.evaluate(() => Promise.allSettled(document.getAnimations().filter((a) => a.effect?.getComputedTiming().iterations !== Infinity).map((a) => a.finished)));
    await page.evaluate(axe);
    const found = await page.evaluate((x) => window.axe.run(x ?? document, { resultTypes: ["violations"] }), part);
    if (!part) this.scans++;
    for (const v of found.violations) {
      for (const n of v.nodes) {
        const what = `${v.id} ${n.target.join(" ")}`;
        if (this.#seen.has(what)) continue; // told once, wherever it was found first
        this.#seen.add(what);
        this.#wrong.push(`axe (${v.impact}) on ${name}, ${mode}: ${what}\n    ${n.html.slice(0, 200)}\n    ${n.failureSummary?.split("\n").slice(1).join(";").trim()}`);
      }
    }
  }

  /**
   * Judges the page as it stands: axe, a picture if wanted, then the same address in dark. ready(page) waits until the page shows what
   * it is for; act(page) brings a freshly opened page to the same state (a dialog); under are places to rest the pointer on.
   */
  async judge(name, ready, { act = async () => {}, under } = {}) {
    await ready(this.page);
    await this.#scan(this.page, name, "light", under);
    if (process.env.ZZ_E2E_SHOTS) await this.page.screenshot({ path: join(this.out, `${name}.png`) });
    await this.dark.bringToFront(); // a page behind another gets no frames
    await this.dark.goto(this.page.url());
    await act(this.dark);
    await ready(this.dark);
    if (await this.dark.evaluate(() => document.documentElement.dataset.theme) !== "dark") throw new Error(`${name}: not dark though the system asks for it`);
    await this.#scan(this.dark, name, "dark", under);
    await this.dark.goto("about:blank"); // polls and streams no longer than needed
    await this.page.bringToFront();
  }

  /** Judges a page that is not the console's: as it stands, in light alone. */
  async glance(name) {
    await this.#scan(this.page, name, "light");
    if (process.env.ZZ_E2E_SHOTS) await this.page.screenshot({ path: join(this.out, `${name}.png`) });
  }

  /** Follows a link or button and waits for the page that comes. */
  async follow(locator, path) {
    await locator.click();
    await this.page.waitForURL((u) => path.test(u.pathname + u.search));
  }

  async keep(name) {
    for (const [mode, p] of [["light", this.page], ["dark", this.dark]]) {
      if (p && p.url() !== "about:blank") await p.screenshot({ path: join(this.out, `failed-${name}-${mode}.png`) });
    }
  }

  async close() {
    await this.#browser?.close();
  }
}
