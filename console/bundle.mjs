// Bundles the console into a folder: `node bundle.mjs FOLDER`.

import { cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";

const HERE = import.meta.dirname;
const folder = process.argv[2];

/** Leaves uPlot out of app.js: only the statistics load it. */
const separatePlots = {
  name: "separate-plots",
  setup(plugin) {
    plugin.onResolve({ filter: /^uplot$/ }, ({ kind }) =>
      kind === "dynamic-import" ? { path: "./uplot.js", external: true } : undefined,
    );
  },
};

const { metafile } = await build({
  entryPoints: { app: join(HERE, "src/main.tsx"), uplot: "uplot" },
  outdir: folder,
  absWorkingDir: HERE,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  plugins: [separatePlots],
  legalComments: "none", // licenses.txt contains the licenses
  metafile: true,
  logLevel: "warning",
});
cpSync(join(HERE, "public"), folder, { recursive: true });

const packages = Object.keys(metafile.inputs).flatMap((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? []);
writeFileSync(join(folder, "licenses.txt"), [...new Set(packages)].sort().map(licenseOf).join("\n"));

/** Returns the license of a package. Some packages state its name but do not include its text. */
function licenseOf(name) {
  const packageFolder = join(HERE, "node_modules", name);
  const { version, license } = JSON.parse(readFileSync(join(packageFolder, "package.json"), "utf8"));
  const file = readdirSync(packageFolder).find((each) => /^licen[cs]e/i.test(each));
  return `${name} ${version}, ${license}\n\n${file ? readFileSync(join(packageFolder, file), "utf8") : ""}`;
}
