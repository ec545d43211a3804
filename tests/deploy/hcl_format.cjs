// Formats HCL as `terraform fmt` does, with HashiCorp's own formatter in WebAssembly (scripts/setup brings it).
//
//   node hcl_format.cjs FOLDER_OF_THE_PACKAGE < {"name": "text", ...} > {"name": "formatted text", ...}

"use strict";
const { readFileSync } = require("fs");
const { join } = require("path");
const { gunzipSync } = require("zlib");

async function main(folder) {
  require(join(folder, "wasm/bridge_wasm_exec.js"));
  const go = new Go();
  const module = await WebAssembly.instantiate(gunzipSync(readFileSync(join(folder, "main.wasm.gz"))), go.importObject);
  const functions = {};
  // The formatter looks for this name, and puts its functions there.
  globalThis.__hcl_helpers_config_wasm__ = functions;
  go.run(module.instance);
  while (!functions.format) await new Promise((resolve) => setTimeout(resolve, 1));
  const formatted = {};
  for (const [name, text] of Object.entries(JSON.parse(readFileSync(0, "utf8")))) {
    formatted[name] = await new Promise((resolve, reject) =>
      functions.format(text, (error, result) => (error ? reject(new Error(`${name}: ${error}`)) : resolve(result))),
    );
  }
  process.stdout.write(JSON.stringify(formatted), () => process.exit(0));
}

main(process.argv[2]).catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
