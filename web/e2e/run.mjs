// The walk of the thread, as its users do it, against a running demo. deploy/browser-test starts one and calls this with
// ZZ_E2E_URL, ZZ_E2E_DATA (its data folder), ZZ_E2E_BIN (the programs) and ZZ_E2E_OUT. A step that can't be taken ends
// the walk; what goes wrong behind a page doesn't, but fails it. Everything waits for a condition, nothing for a time, and nothing is tried twice.
import { Browser } from "./browser.mjs";
import { steps } from "./steps.mjs";

const need = (name) => {
  const v = process.env[name];
  if (!v) throw new Error(`${name} is not set: run deploy/browser-test`);
  return v;
};
const env = { url: need("ZZ_E2E_URL"), data: need("ZZ_E2E_DATA"), bin: need("ZZ_E2E_BIN"), out: need("ZZ_E2E_OUT") };

const begun = Date.now();
const b = new Browser(env.url, env.out);
try {
  await b.start();
  const walk = { ...env, b };
  for (const [i, [name, step]] of steps.entries()) {
    const at = Date.now();
    let broken;
    try {
      await step(walk);
    } catch (e) {
      broken = e.stack ?? String(e);
    }
    const wrong = b.found();
    const took = `${i + 1}. ${name} (${((Date.now() - at) / 1000).toFixed(1)} s)`;
    if (broken || wrong.length) {
      console.error([`✗ ${took}`, broken, ...wrong].filter(Boolean).join("\n  "));
      await b.keep(String(i + 1));
      process.exitCode = 1;
    } else if (process.env.ZZ_E2E_VERBOSE) console.log(`✓ ${took}`);
    if (broken) break; // the next step begins where this one should have ended
  }
} finally {
  await b.close();
}
if (!process.exitCode) console.log(`${steps.length} steps, ${b.scans} axe scans, ${Math.round((Date.now() - begun) / 1000)} s`);
