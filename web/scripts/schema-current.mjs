// Fails when src/api/schema.d.ts was not generated from today's api/openapi.yaml.
import { readFileSync } from "node:fs";
import openapiTS, { astToString } from "openapi-typescript";

const fresh = astToString(await openapiTS(new URL("../../api/openapi.yaml", import.meta.url)));
const kept = readFileSync(new URL("../src/api/schema.d.ts", import.meta.url), "utf8");
const bare = (s) => s.replace(/^\/\*\*[\s\S]*?\*\/\s*/, "").trim();
if (bare(fresh) !== bare(kept)) {
  console.error("src/api/schema.d.ts is not up to date: run npm run gen");
  process.exit(1);
}
