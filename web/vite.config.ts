/// <reference types="vitest/config" />
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

// precompress writes .br and .gz beside each text file, so that the server sends them as they are. The placeholder that lets
// a fresh clone compile is written again, because a build empties the folder.
function precompress(): Plugin {
  return {
    name: "precompress",
    apply: "build",
    closeBundle() {
      const root = join(import.meta.dirname, "dist");
      if (!existsSync(root)) mkdirSync(root);
      writeFileSync(join(root, ".gitkeep"), "");
      const walk = (dir: string) => {
        for (const e of readdirSync(dir, { withFileTypes: true })) {
          const p = join(dir, e.name);
          if (e.isDirectory()) walk(p);
          else if (/\.(js|css|svg|json|wasm)$/.test(e.name)) {
            const b = readFileSync(p);
            if (b.length < 1400) continue;
            writeFileSync(p + ".gz", gzipSync(b, { level: 9 }));
            writeFileSync(p + ".br", brotliCompressSync(b, { params: { [constants.BROTLI_PARAM_QUALITY]: 9 } }));
          }
        }
      };
      walk(root);
    },
  };
}

// the Host stays the console's: the server refuses changes from another site's page
const server = { target: process.env.ZZ_DEV_SERVER ?? "http://127.0.0.1:8080", changeOrigin: false };

export default defineConfig({
  plugins: [react(), precompress()],
  build: { target: "chrome89", cssTarget: "chrome89", chunkSizeWarningLimit: 1200 },
  worker: { format: "es" },
  server: { proxy: { "/api": server, "/log/": server, "/healthz": server, "/readyz": server } },
  test: { include: ["src/**/*.test.{ts,tsx}"], environment: "node" },
});
