// The build step: what is served is what was built, with the time of the build in it.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";

mkdirSync("dist", { recursive: true });
const source = readFileSync("server.mjs", "utf8");
writeFileSync("dist/server.mjs", source.replace("BUILT_AT", JSON.stringify(new Date().toISOString())));
