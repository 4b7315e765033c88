// Every Chinese text of the console has an English one, and none is kept that nobody shows.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import i18next from "i18next";
import { beforeAll, describe, expect, it } from "vitest";
import { en, serverWords } from "./en";
import { startI18n } from "./i18n";

const src = join(import.meta.dirname, "..");
const files = (dir: string, ends: RegExp, not: RegExp): string[] => readdirSync(dir, { recursive: true, encoding: "utf8" }).filter((f) => ends.test(f) && !not.test(f)).map((f) => join(dir, f));
const bare = (s: string) => s.replace(/^\s*\/\/.*$/gm, "").replace(/\/\*\*[\s\S]*?\*\//g, "");
const han = /\p{Script=Han}/u;
// words that are put together with figures, and the language's own name
const elsewhere = new Set(["秒", "分钟", "小时", "天", "中文"]);

const used = new Map<string, string>();
for (const f of files(src, /\.tsx?$/, /schema\.d\.ts$|app\/en\.ts$|\.test\./)) {
  const code = bare(readFileSync(f, "utf8"));
  for (const m of code.matchAll(/"((?:[^"\\\n]|\\.)*)"/g)) if (m[1] && han.test(m[1]) && !elsewhere.has(m[1])) used.set(m[1], f);
  for (const m of code.matchAll(/\bt\("([^"\n]+)", \{ context: "(\w+)" \}\)/g)) used.set(`${m[1]}_${m[2]}`, f);
}

describe("texts", () => {
  it("are found at all", () => expect(used.size).toBeGreaterThan(450));
  it("each has an English text", () => {
    expect([...used].filter(([k]) => !en[k]).map(([k, f]) => `${f}: ${k}`)).toEqual([]);
  });
  it("none is unused", () => {
    // titles[what] is asked for with a context the code doesn't spell out
    expect(Object.keys(en).filter((k) => !(k in serverWords) && !used.has(k) && !(k.endsWith("_act") && used.has(k.slice(0, -4))))).toEqual([]);
  });
  it("no English text has Chinese left in it, or other blanks than the Chinese one", () => {
    const blanks = (s: string) => [...s.matchAll(/\{\{(\w+)\}\}/g)].map((m) => m[1]).sort();
    for (const [zh, e] of Object.entries(en)) {
      expect(han.test(e), e).toBe(false);
      expect(blanks(e), zh).toEqual(blanks(zh));
    }
  });
  it("each word of the server is one that the server says", () => {
    const root = join(src, "../..");
    const said = ["api", "authority", "budget", "cases", "devices", "evidence", "ingest"].flatMap((d) => files(join(root, d), /\.go$/, /_test\.go$/)).map((f) => readFileSync(f, "utf8")).join("\n");
    expect(Object.keys(serverWords).filter((w) => !said.includes(`"${w}"`))).toEqual([]);
  });
});

describe("languages", () => {
  beforeAll(startI18n);
  it("Chinese is its own text, English is looked up, an unknown sentence stays as it is", async () => {
    expect(i18next.t("剩 {{n}} 天", { n: 3 })).toBe("剩 3 天");
    expect(i18next.t("摘要", { context: "memo" })).toBe("摘要");
    i18next.addResourceBundle("en", "translation", en);
    await i18next.changeLanguage("en");
    expect(i18next.t("剩 {{n}} 天", { n: 3 })).toBe("3 days left");
    expect([i18next.t("摘要"), i18next.t("摘要", { context: "memo" })]).toEqual(["Digests", "What for"]);
    expect(i18next.t("服务器说的：一句: 话. {x}")).toBe("服务器说的：一句: 话. {x}");
  });
});
