// The steps, in the order of the walk; each ends where the next begins. Roles, labels and texts are what a user sees: no classes.
import { execFile, execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const must = (ok, what) => {
  if (!ok) throw new Error(what);
};
const table = (name) => (p) => p.getByRole("table", { name, exact: true }).getByRole("row").nth(1).waitFor();
const heading = (name) => (p) => p.getByRole("heading", { level: 1, name }).waitFor();
const nav = (p, name) => p.getByRole("navigation", { name: "主菜单" }).getByRole("link", { name, exact: true });

/** Chooses in a drop-down list by typing. A list of many stays open until Escape, which closes a dialog when pressed once more. */
async function choose(scope, label, typed, option = typed, many = true) {
  const page = scope.page?.() ?? scope;
  const box = scope.getByRole("combobox", { name: label });
  await box.click();
  await box.fill(typed);
  await page.getByTitle(option).and(page.locator(":visible")).first().click();
  if (many) await box.press("Escape");
}

const password = (walk, role) => JSON.parse(readFileSync(join(walk.data, "demo-accounts.json"), "utf8")).find((a) => a.role === role);

async function signIn({ b, ...walk }, role) {
  const account = password(walk, role);
  await b.page.getByLabel("用户名").fill(account.username);
  await b.page.getByLabel("密码", { exact: true }).fill(account.password);
  await b.page.getByRole("button", { name: /^登\s?录$/ }).click();
  await b.page.getByRole("navigation", { name: "主菜单" }).waitFor();
}

async function signOut({ b }) {
  await b.page.getByRole("button", { name: /账号菜单/ }).click();
  await b.page.getByRole("menuitem", { name: "退出登录" }).click();
  await b.page.getByRole("button", { name: /^登\s?录$/ }).waitFor();
}

/** A clip nobody has seen before: one of the demo's with a free box of random bytes behind it, which players pass over. */
function freshClip(from, to) {
  const clip = readFileSync(from);
  const box = Buffer.alloc(8);
  box.writeUInt32BE(8 + 64);
  box.write("free", 4, "latin1");
  writeFileSync(to, Buffer.concat([clip, box, randomBytes(64)]));
}

const video = (p) => p.getByLabel(/^影像 /).and(p.locator("video"));

export const steps = [
  ["a wrong password is refused in plain words", async (walk) => {
    const { b } = walk;
    b.expect(401, "/api/v1/session"); // who am I: nobody yet
    await b.page.goto("/");
    await b.page.waitForURL(/\/sign-in\?to=/);
    await b.page.getByLabel("用户名").fill(password(walk, "reviewer").username);
    await b.page.getByLabel("密码", { exact: true }).fill("not-the-password");
    b.expect(401, "/api/v1/session");
    await b.page.getByRole("button", { name: /^登\s?录$/ }).click();
    await b.page.getByRole("alert").getByText("用户名或密码不正确").waitFor();
    await b.judge("01-sign-in", (p) => p.getByRole("button", { name: /^登\s?录$/ }).waitFor());
  }],

  ["the reviewer signs in and sees the evidence", async (walk) => {
    const { b } = walk;
    await signIn(walk, "reviewer");
    await b.page.waitForURL(/\/evidence$/);
    await b.page.getByRole("table", { name: "证据" }).getByText("已封存").first().waitFor(); // the demo docks its first clip about now
    await b.page.getByText("示例数据").waitFor();
  }],

  ["a docked clip appears in the open list by itself", async (walk) => {
    const { b, data, bin, url } = walk;
    const card = join(data, "demo-footage", "card");
    const source = join(data, "e2e-card");
    mkdirSync(source);
    walk.clip = `现场 ${randomBytes(4).toString("hex")}.mp4`;
    walk.notes = walk.clip.replace(".mp4", ".txt");
    freshClip(join(card, readdirSync(card).filter((n) => n.endsWith("_0036.mp4"))[0]), join(source, walk.clip));
    writeFileSync(join(source, walk.notes), `现场笔录（示例）${randomBytes(8).toString("hex")}\n`);
    await b.page.evaluate(() => { window.notReloaded = true; });
    const { stdout } = await run(join(bin, "zhizheng-dock"), ["--identity", join(data, "demo-dock"), "--server", url, "--source", source, "--recorder", "DEMO-BWC-0001", "--once", "--json"]);
    const lines = stdout.trim().split("\n").map((l) => JSON.parse(l));
    must(lines.length === 2 && lines.every((l) => l.status === "sealed"), `the agent says: ${stdout}`);
    walk.evidence = lines.find((l) => l.file.endsWith(".mp4")).evidence_id;
    const row = b.page.getByRole("row").filter({ hasText: walk.clip });
    await row.getByText("已封存").waitFor();
    await row.getByText("完好").waitFor(); // the media facts come by a job
    must(await b.page.evaluate(() => window.notReloaded), "the list was loaded anew");
    await b.judge("02-evidence", (p) => p.getByRole("row").filter({ hasText: walk.clip }).getByText("完好").waitFor());
  }],

  ["the clip opens and plays, seeks and steps", async (walk) => {
    const { b } = walk;
    await b.follow(b.page.getByRole("link", { name: walk.clip }), new RegExp(`^/evidence/${walk.evidence}$`));
    await b.page.getByRole("button", { name: /^播放；/ }).click();
    const v = await video(b.page).elementHandle();
    await b.page.waitForFunction((x) => !x.paused && x.currentTime > 0.3 && x.videoWidth > 0, v);
    await b.page.getByRole("button", { name: "播放 / 暂停（空格）" }).click();
    await b.page.waitForFunction((x) => x.paused, v);
    const at = b.page.getByRole("slider", { name: "播放位置" });
    const bar = await at.boundingBox();
    await at.click({ position: { x: bar.width * 0.6, y: bar.height / 2 } });
    await b.page.waitForFunction((x) => !x.seeking && Math.abs(x.currentTime - x.duration * 0.6) < x.duration * 0.02, v);
    await b.page.keyboard.press(".");
    await b.page.getByText("已确认").waitFor(); // the frame shown is the frame asked for
    await b.page.waitForURL(/\?t=14\./); // the place is in the address
  }],

  ["the browser finds the digest equal", async ({ b }) => {
    await b.page.getByRole("button", { name: "在本机校验" }).click();
    await b.page.getByText(/^\s*一致：平台上的封存原件的摘要与册中指纹相同/).waitFor();
  }],

  ["custody shows the sealing and the view", async ({ b }) => {
    const chain = b.page.getByRole("list", { name: "保管链，新的在前" });
    for (const what of [/^指纹已入册/, /^封存/, /^查看/]) {
      const act = chain.getByRole("listitem").filter({ has: b.page.getByText(what) });
      await act.first().waitFor();
      must((await act.count()) === 1, `${what} is told ${await act.count()} times`);
      await act.getByRole("link", { name: /^册页 [\d,]+$/ }).waitFor();
    }
    await b.judge("03-evidence-one", (p) => p.getByRole("list", { name: "保管链，新的在前" }).getByText(/^查看/).waitFor());
  }],

  ["R01 refuses an item that was taken back, R02 too few officers or one without a certificate", async (walk) => {
    const { b } = walk;
    await nav(b.page, "案件").click();
    await table("案件")(b.page);
    await b.judge("04-cases", table("案件"));
    await b.follow(b.page.getByRole("button", { name: /立\s?案$/ }), /^\/cases\/new/);
    const submit = b.page.getByRole("main").getByRole("button", { name: /^立\s?案$/ });
    const refused = async (rule, article) => {
      b.expect(422, "/api/v1/cases");
      await submit.click();
      const alert = b.page.getByRole("alert").filter({ hasText: rule });
      await alert.getByText(article).first().waitFor();
      return alert;
    };
    await choose(b.page, "乡镇", "嘉川镇");
    await choose(b.page, "权力事项", "露天焚烧秸秆", /^露天焚烧秸秆/);
    await choose(b.page, "执法人员（两名以上）", "证件无效", /证件无效$/);
    await choose(b.page, "执法人员（两名以上）", "示例川H", /示例川H\d{6}$/);
    const uncertified = await refused("R02", /行政处罚法/);
    must(/没有有效的执法证/.test(await uncertified.innerText()), await uncertified.innerText());
    await b.judge("05-case-new-refused", (p) => p.getByRole("heading", { name: "立案登记" }).waitFor());
    await choose(b.page, "乡镇", "东河镇");
    await choose(b.page, "权力事项", "犬", /犬.*已收回或未生效$/);
    await choose(b.page, "执法人员（两名以上）", "示例川H0001", /示例川H0001\d\d$/);
    await choose(b.page, "执法人员（两名以上）", "示例川H0002", /示例川H0002\d\d$/);
    await refused("R01", /行政处罚法/);
    await choose(b.page, "权力事项", "露天焚烧秸秆", /^露天焚烧秸秆/);
    await b.page.getByRole("combobox", { name: "执法人员（两名以上）" }).press("Backspace"); // lets the last one go
    const few = await refused("R02", /行政处罚法/);
    must(/不得少于两人/.test(await few.innerText()), await few.innerText());
  }],

  ["a case is opened on the clip, with a purpose", async (walk) => {
    const { b } = walk;
    await b.page.goto(`/evidence/${walk.evidence}`);
    await b.follow(b.page.getByRole("link", { name: "据此立案" }), /^\/cases\/new\?.*evidence=/);
    await choose(b.page, "权力事项", "露天焚烧秸秆", /^露天焚烧秸秆/);
    await choose(b.page, "执法人员（两名以上）", "示例川H0001", /示例川H0001\d\d$/);
    await choose(b.page, "执法人员（两名以上）", "示例川H0002", /示例川H0002\d\d$/);
    await b.page.getByLabel(/的证明目的$/).fill("证明现场情况（示例）");
    await b.follow(b.page.getByRole("main").getByRole("button", { name: /^立\s?案$/ }), /^\/cases\/(?!new)/);
    walk.case = new URL(b.page.url()).pathname;
    await b.page.getByRole("row").filter({ hasText: walk.clip }).getByText("证明目的：证明现场情况（示例）").waitFor();
  }],

  ["another record is linked with its purpose, and both come under hold", async (walk) => {
    const { b } = walk;
    await b.page.getByRole("button", { name: /添\s?加$/ }).click();
    const dialog = b.page.getByRole("dialog");
    await dialog.getByRole("radio", { name: walk.notes }).check();
    await dialog.getByLabel("证明目的").fill("现场笔录（示例）");
    await dialog.getByRole("button", { name: /^添\s?加$/ }).click();
    await b.page.getByRole("row").filter({ hasText: walk.notes }).getByText("证明目的：现场笔录（示例）").waitFor();
    const held = async (p) => {
      for (const f of [walk.clip, walk.notes]) await p.getByRole("row").filter({ hasText: f }).getByText("保全中", { exact: true }).waitFor();
    };
    await b.judge("06-case", held, { under: [ // the store confirms by a job
      (p) => p.getByRole("button", { name: /导出证据包$/ }), (p) => p.getByRole("button", { name: "复制链接" }), (p) => p.getByRole("link", { name: walk.clip }), (p) => nav(p, "证据库"),
    ] });
  }],

  ["an activity is planned for the case, refused by R02 at first, changed, and cancelled with its reason", async (walk) => {
    const { b } = walk;
    await b.follow(nav(b.page, "执法活动"), /^\/activities$/);
    await b.judge("26-activities", table("执法活动"));
    const plan = b.page.getByRole("button", { name: /安排活动$/ });
    await plan.click();
    const dialog = b.page.getByRole("dialog");
    await choose(dialog, "乡镇", "东河镇", /^东河镇$/, false);
    await choose(dialog, "类型", "检查", /^检查$/, false);
    await dialog.getByLabel("名称").fill("砂石堆放检查（示例）");
    for (const [label, at] of [["开始（可不填）", "09:00"], ["结束", "11:30"]]) {
      await dialog.getByLabel(label).fill(at);
      await dialog.getByLabel(label).press("Enter");
    }
    await choose(dialog, "执法人员", "示例川H0001", /示例川H0001\d\d$/);
    const submit = dialog.getByRole("button", { name: /^安\s?排$/ });
    b.expect(422, "/api/v1/activities");
    await submit.click();
    await dialog.getByRole("alert").filter({ hasText: "R02" }).getByText(/不得少于两人/).waitFor();
    await b.judge("27-activity-refused", (p) => p.getByRole("dialog").getByLabel("名称").waitFor(), { act: (p) => p.getByRole("button", { name: /安排活动$/ }).click() });
    await choose(dialog, "执法人员", "示例川H0002", /示例川H0002\d\d$/);
    await dialog.getByRole("combobox", { name: "案件（可不填）" }).click();
    await b.page.getByTitle(/执立〔/).and(b.page.locator(":visible")).first().click();
    await b.follow(submit, /^\/activities\/./);
    await b.page.getByRole("heading", { level: 1, name: "砂石堆放检查（示例）" }).waitFor();
    await b.page.getByRole("button", { name: /修改…$/ }).click();
    await dialog.getByLabel("地点").fill("河滩（示例）");
    await dialog.getByRole("button", { name: /^保\s?存$/ }).click();
    await dialog.waitFor({ state: "hidden" });
    await b.page.getByRole("listitem").filter({ hasText: "已改动" }).getByText("河滩（示例）").waitFor();
    await b.judge("28-activity", heading("砂石堆放检查（示例）"));
    await b.page.getByRole("button", { name: /取消活动…$/ }).click();
    await dialog.getByLabel("理由").fill("大雨，改期（示例）");
    await dialog.getByRole("button", { name: "取消活动", exact: true }).click();
    await b.page.getByText(/已于 .* 取消：大雨，改期（示例）$/).waitFor();
    must((await b.page.getByRole("button", { name: /修改…$/ }).count()) === 0, "a cancelled activity may be changed");
    await b.page.goto(walk.case);
  }],

  ["from the clip to its recorder, to the posting that bought it, to the township's year", async (walk) => {
    const { b } = walk;
    await b.follow(b.page.getByRole("row").filter({ hasText: walk.clip }).getByRole("link", { name: walk.clip }), /^\/evidence\//);
    await b.page.getByRole("region", { name: "关联" }).getByText("证明目的：证明现场情况（示例）").waitFor();
    await b.follow(b.page.getByRole("link", { name: /^DEMO-BWC-0001 · / }), /^\/devices\//);
    await b.judge("07-device", heading("DEMO-BWC-0001"));
    await b.follow(b.page.getByRole("link", { name: /购置执法记录仪/ }), /^\/budget\/\d{4}\/510821100\?posting=/);
    const posting = (p) => p.getByRole("row").filter({ hasText: "DEMO-BWC-0001" }).filter({ hasText: "购置执法记录仪" }).and(p.locator("[aria-current=true]"));
    await posting(b.page).getByRole("link", { name: /^册页 / }).waitFor();
    await b.judge("08-township-year", (p) => posting(p).waitFor());
    await b.follow(nav(b.page, "经费台账"), /^\/budget$/);
    await b.judge("09-budget", (p) => p.getByRole("link", { name: "东河镇" }).waitFor());
  }],

  ["the bundle is exported and verified offline; one flipped bit is found", async (walk) => {
    const { b, bin, url, data } = walk;
    await b.page.goto(walk.case);
    const coming = b.page.waitForEvent("download");
    await b.page.getByRole("button", { name: /导出证据包$/ }).click();
    const download = await coming;
    const bundle = join(data, "e2e-bundle.zip");
    await download.saveAs(bundle);
    must(download.suggestedFilename().endsWith(".zip"), `the bundle is named ${download.suggestedFilename()}`);
    const vkey = join(data, "e2e-vkey");
    writeFileSync(vkey, await (await fetch(`${url}/log/vkey`)).text());
    const verify = (...args) => {
      try {
        return [0, execFileSync(join(bin, "zhizheng-verify"), args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] })];
      } catch (e) {
        return [e.status, `${e.stdout}${e.stderr}`];
      }
    };
    const [good, said] = verify("--trust", vkey, bundle);
    must(good === 0 && said.includes(walk.clip), `a good bundle: exit ${good}\n${said}`);
    const [untrusting] = verify(bundle);
    must(untrusting === 2, `without a key: exit ${untrusting}`);
    const bytes = readFileSync(bundle);
    bytes[Math.floor(bytes.length / 2)] ^= 1; // within the clip
    writeFileSync(bundle, bytes);
    const [bad, named] = verify("--trust", vkey, bundle);
    must(bad === 1 && /^✗ .*\.mp4/m.test(named), `a flipped bit: exit ${bad}\n${named}`);
    await b.page.goto(`/evidence/${walk.evidence}`);
    await b.page.getByRole("list", { name: "保管链，新的在前" }).getByText(/导出/).first().waitFor();
  }],

  ["the reviewer's other pages", async ({ b }) => {
    for (const [name, shot, ready] of [
      ["执法人员", "10-officers", table("执法人员")],
      ["权力事项", "11-power-items", table("权力事项")],
      ["乡镇与部门", "12-townships", (p) => p.getByRole("cell", { name: "东河镇" }).waitFor()],
      ["证据册", "13-log", (p) => p.getByRole("region", { name: "册页" }).getByRole("row").nth(3).waitFor()],
    ]) {
      await nav(b.page, name).click();
      await b.judge(shot, ready);
    }
    await b.page.goto("/no-such-page");
    await b.judge("14-not-found", (p) => p.getByRole("link", { name: /首页|回到/ }).first().waitFor());
  }],

  ["signing out ends the session", async (walk) => {
    const { b } = walk;
    await b.page.goto("/evidence");
    await signOut(walk);
    b.expect(401, "/api/v1/session");
    await b.page.goto("/evidence");
    await b.page.waitForURL(/\/sign-in\?to=/);
    await b.page.goto("/sign-in"); // the next one doesn't want to go there
  }],

  ["finance: a posting beyond the allotment is refused, one within it is entered", async (walk) => {
    const { b } = walk;
    await signIn(walk, "finance");
    await b.follow(nav(b.page, "经费台账"), /^\/budget$/);
    await b.follow(b.page.getByRole("link", { name: "东河镇" }), /^\/budget\/\d{4}\/510821100/);
    await b.page.getByRole("button", { name: /记一笔$/ }).click();
    const dialog = b.page.getByRole("dialog");
    const fill = async (yuan) => {
      for (const n of [1, 2]) await dialog.getByLabel(`第 ${n} 行金额（元）`).fill(yuan);
    };
    await dialog.getByLabel("摘要").fill("购执法记录仪（示例）");
    await fill("60000");
    b.expect(422, "/api/v1/budget/postings");
    await dialog.getByRole("button", { name: /^记\s?账$/ }).click();
    const alert = dialog.getByRole("alert").filter({ hasText: "R23" });
    await alert.getByText(/额度余 .* 元，本笔需 .* 元，超出 .* 元/).waitFor();
    await b.judge("15-posting-refused", (p) => p.getByRole("dialog").getByLabel("摘要").waitFor(), { act: (p) => p.getByRole("button", { name: /记一笔$/ }).click() });
    await fill("12.34");
    await dialog.getByRole("button", { name: /^记\s?账$/ }).click();
    await dialog.waitFor({ state: "hidden" });
    await b.page.getByRole("row").filter({ hasText: "购执法记录仪（示例）" }).filter({ hasText: "12.34" }).waitFor();
    await signOut(walk);
  }],

  ["manager: 1,600 devices and more, alive", async (walk) => {
    const { b } = walk;
    await signIn(walk, "manager");
    await b.follow(nav(b.page, "装备"), /^\/devices/);
    await b.page.getByText("实时", { exact: true }).waitFor();
    const rows = b.page.getByRole("table", { name: "装备" });
    await rows.getByRole("row").nth(5).waitFor();
    must(Number(await rows.getAttribute("aria-rowcount")) > 1600, `the table has ${await rows.getAttribute("aria-rowcount")} rows`);
    // A row whose last data gets younger: the clock alone only makes it older.
    await b.page.waitForFunction(() => {
      const seconds = (s) => { const m = /^(\d+) (秒|分钟|小时|天)前$/.exec(s); return m ? Number(m[1]) * { 秒: 1, 分钟: 60, 小时: 3600, 天: 86400 }[m[2]] : Infinity; };
      const seen = (window.ages ??= new Map());
      let younger = false;
      for (const row of document.querySelectorAll("[role=table][aria-label=装备] [role=row]")) {
        const cells = [...row.querySelectorAll("[role=cell]")].map((c) => c.textContent);
        const age = cells.find((c) => c.endsWith("前"));
        if (!age) continue;
        if (seen.has(cells[0]) && seconds(age) < seen.get(cells[0])) younger = true;
        seen.set(cells[0], seconds(age));
      }
      return younger;
    });
    await b.judge("16-devices", (p) => p.getByRole("table", { name: "装备" }).getByRole("row").nth(5).waitFor());
    await nav(b.page, "拒收报文").click();
    await b.judge("17-dead-letters", heading("拒收报文"));
    await nav(b.page, "到期清理").click();
    await b.judge("17-retention", (p) => p.getByRole("heading", { name: "没有到期的影像" }).waitFor());
    await nav(b.page, "文件名规则").click();
    await b.page.getByRole("button", { name: /试读$/ }).click();
    await b.page.getByRole("row").filter({ hasText: "DSJ-A1B2C1" }).first().waitFor();
    await b.judge("17-name-patterns", (p) => p.getByRole("button", { name: /试读$/ }).waitFor());
  }],

  ["an officer docks a recorder at the station's own screen, and the manager sees it", async (walk) => {
    const { b, data, bin, url } = walk;
    await b.page.goto("/officers?township=510821100");
    const give = b.page.getByRole("button", { name: /^为 .* 新发 PIN$/ }).first();
    const officer = /^为 (.*) 新发 PIN$/.exec(await give.getAttribute("aria-label"))[1];
    await give.click();
    const shown = b.page.getByRole("dialog");
    const pin = /\d{6}/.exec(await shown.getByText(/^\d{6}$/).innerText())[0];
    await shown.getByRole("button", { name: "知道了" }).click();

    const ports = join(data, "e2e-ports");
    const card = join(data, "e2e-recorder");
    for (const d of [ports, card]) mkdirSync(d);
    const clip = (n) => `DEMO-BWC-0001_000001_2026030112000${n}_090${n}.mp4`;
    for (const n of [1, 2, 5]) freshClip(join(data, "e2e-card", walk.clip), join(card, clip(n)));
    writeFileSync(join(data, "e2e-dock.yaml"), `folders: [{path: ${JSON.stringify(ports)}, each: true, settle: 500ms}]\ndisabled: {16: 触点检修}\n`);
    const dock = spawn(join(bin, "zhizheng-dock"), ["station", "--identity", join(data, "demo-dock"), "--server", url, "--spool", join(data, "e2e-spool"), "--config", join(data, "e2e-dock.yaml"), "--listen", "127.0.0.1:0"], { stdio: ["ignore", "ignore", "pipe"] });
    const ended = new Promise((done) => dock.once("exit", done));
    try {
      let said = "";
      const screen = await new Promise((up, no) => {
        dock.stderr.on("data", (d) => { said += d; const m = /page=(http:\S+)/.exec(said); if (m) up(m[1]); });
        dock.once("exit", () => no(new Error(`the station ended: ${said}`)));
      });
      renameSync(card, join(ports, "DEMO-BWC-0001"));
      await b.page.goto(screen);
      await b.page.getByRole("button", { name: /^1 号工位 .*待说明$/ }).waitFor(); // 3 and 4 are missing by the names
      await b.glance("20-station");
      await b.page.getByRole("button", { name: /请刷执法证/ }).click();
      await b.page.getByRole("button", { name: officer, exact: true }).click();
      await b.glance("21-station-pin");
      for (const digit of pin) await b.page.getByRole("button", { name: digit, exact: true }).click();
      await b.page.getByRole("heading", { level: 2, name: officer }).waitFor();
      await b.page.getByRole("button", { name: /^1 号工位/ }).click();
      const market = /^集市占道经营检查（示例）/; // of today, so it is among the five
      await b.page.getByRole("button", { name: market }).click();
      await b.page.getByRole("button", { name: market, pressed: true }).waitFor();
      await b.page.getByRole("button", { name: /^更多执法活动/ }).click();
      await b.page.getByRole("button", { name: "巡查", exact: true }).waitFor();
      await b.page.getByRole("button", { name: "收起" }).click();
      await b.page.getByRole("heading", { level: 3, name: "缺失 903–904" }).waitFor();
      await b.page.getByRole("button", { name: "更换电池" }).click();
      await b.page.getByRole("heading", { level: 3, name: "缺失 903–904：更换电池" }).waitFor();
      await b.page.getByRole("button", { name: /^1 号工位 .*已封存$/ }).waitFor();
      await b.glance("22-station-officer");
      await b.page.getByRole("button", { name: /确认归还/ }).click();
      await b.page.getByText("执证归还回单 v1").waitFor();
      await b.glance("23-station-slip");
      await b.page.getByRole("button", { name: "返回" }).click();
      await b.page.getByRole("button", { name: "退出" }).click();
      await b.page.getByRole("heading", { level: 2, name: "归还记录仪" }).waitFor();

      await b.page.goto(url);
      await nav(b.page, "采集站").click();
      await b.judge("24-docks", (p) => p.getByRole("region", { name: "各乡镇今日归站" }).getByRole("row").filter({ hasText: "在线" }).first().waitFor());
      await b.page.getByRole("link", { name: "示例采集站" }).first().click();
      await b.judge("25-dock", async (p) => {
        await p.getByRole("region", { name: "1 号工位" }).getByText("全部已封存").waitFor();
        await p.getByRole("region", { name: "站上发生的事" }).getByRole("row").filter({ hasText: "903–904" }).filter({ hasText: "更换电池" }).waitFor();
      });
    } finally {
      dock.kill("SIGTERM");
      must((await ended) === 0, "the station did not end in order");
    }
  }],

  ["the manager signs out", (walk) => signOut(walk)],

  ["supervisor: sees all, may change nothing", async (walk) => {
    const { b } = walk;
    await signIn(walk, "supervisor");
    const nothing = async (what) => {
      const acts = b.page.getByRole("main").getByRole("button", { name: /立\s?案$|添\s?加$|^解\s?除|冲\s?销|记一笔|设置保全|标记误录|安排活动|修改…|取消活动|进入“/ });
      must((await acts.count()) === 0, `${what} offers ${await acts.allInnerTexts()}`);
    };
    await table("证据")(b.page);
    await nothing("the evidence list");
    await b.page.goto(`/evidence/${walk.evidence}`);
    await b.page.getByRole("list", { name: "保管链，新的在前" }).waitFor();
    must((await b.page.getByRole("link", { name: "据此立案" }).count()) === 0, "the evidence page offers to open a case");
    await nothing("the evidence page");
    await b.page.getByRole("button", { name: "更多操作" }).click();
    await b.page.getByRole("menuitem", { name: "打印本页" }).waitFor();
    must((await b.page.getByRole("menuitem", { name: /保全|误录|受限/ }).count()) === 0, "the menu offers holds or restrictions");
    await b.page.keyboard.press("Escape");
    await nav(b.page, "执法活动").click();
    await table("执法活动")(b.page);
    await nothing("the list of activities");
    await b.page.getByRole("link", { name: "集市占道经营检查（示例）" }).click();
    await b.page.getByRole("region", { name: "影像" }).getByRole("link", { name: /_0905\.mp4$/ }).waitFor(); // labelled at the station
    await nothing("an activity");
    await b.judge("29-activity-clips", (p) => p.getByRole("region", { name: "影像" }).getByRole("link", { name: /_0905\.mp4$/ }).waitFor());
    await b.follow(b.page.getByRole("link", { name: "在证据库中查看" }), /^\/evidence\?activity_id=/);
    await b.page.getByRole("table", { name: "证据" }).getByText("_0905.mp4").first().waitFor();
    must((await b.page.getByRole("table", { name: "证据" }).getByText(walk.clip).count()) === 0, "the library lists clips of no activity too");
    await nav(b.page, "案件").click();
    await table("案件")(b.page);
    await nothing("the case list");
    await b.page.goto(walk.case);
    await b.page.getByRole("button", { name: /导出证据包$/ }).waitFor();
    await nothing("the case");
    await b.judge("18-case-supervisor", (p) => p.getByRole("button", { name: /导出证据包$/ }).waitFor());
    await b.page.goto("/cases/new");
    await b.page.getByRole("alert").getByText("没有这项权限").waitFor();
    await nothing("the page to open a case");
    await nav(b.page, "经费台账").click();
    await b.follow(b.page.getByRole("link", { name: "东河镇" }), /^\/budget\//);
    await b.page.getByRole("row").filter({ hasText: "DEMO-BWC-0001" }).waitFor();
    await nothing("the ledger");
    await signOut(walk);
  }],

  ["admin: runs the system, reads no evidence", async (walk) => {
    const { b } = walk;
    await signIn(walk, "admin");
    await b.page.getByRole("main").getByRole("heading", { level: 1 }).waitFor();
    must((await nav(b.page, "证据库").count()) === 0, "the menu has the evidence");
    b.expect(403, `/api/v1/evidence/${walk.evidence}`);
    b.expect(403, `/api/v1/evidence/${walk.evidence}`);
    await b.page.goto(`/evidence/${walk.evidence}`);
    await b.judge("19-forbidden", (p) => p.getByRole("alert").waitFor());
    await signOut(walk);
  }],
];
