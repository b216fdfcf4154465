// Bundles the console into a folder: `node bundle.mjs FOLDER`.

import { cpSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";

const HERE = import.meta.dirname;
const folder = process.argv[2];

await build({
  entryPoints: { app: join(HERE, "src/main.tsx") },
  outdir: folder,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "linked", // the licenses of the packages, in app.js.LEGAL.txt
  logLevel: "warning",
});
cpSync(join(HERE, "public"), folder, { recursive: true });
