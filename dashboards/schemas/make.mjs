// Makes the schemas of this folder again. Before: for each version V of VERSIONS, in a folder of its own under v/V,
//   npm i @grafana/schema@V          and once:   npm i typescript ts-json-schema-generator@2.3.0
import fs from "fs";
import { createGenerator } from "ts-json-schema-generator";

const VERSIONS = ["11.6.7", "12.3.3", "13.2.3"];
const PANELS = {
  bargauge: "bargauge", histogram: "histogram", stat: "stat", statetimeline: "state-timeline",
  statushistory: "status-history", table: "table", timeseries: "timeseries", xychart: "xychart",
};

const types = (folder) => fs.readdirSync(folder, { recursive: true }).filter((f) => f.endsWith("types.gen.d.ts"));
const make = (path, type) =>
  plain(createGenerator({ path, type, skipTypeCheck: true, additionalProperties: false, expose: "all", topRef: false })
    .createSchema(type));

function plain(part) {
  if (Array.isArray(part)) return part.map(plain);
  if (part === null || typeof part !== "object") return part;
  const kept = Object.entries(part).filter(
    ([key, value]) => !(key === "description" && typeof value === "string") && key !== "$schema" && key !== "default");
  return Object.fromEntries(kept.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => [key, plain(value)]));
}

for (const version of VERSIONS) {
  const root = `v/${version}/node_modules/@grafana/schema/dist`;
  const raw = fs.existsSync(`${root}/types/raw`) ? `${root}/types/raw` : `${root}/esm/raw`;
  const made = { dashboard: make(`${raw}/dashboard/${types(`${raw}/dashboard`)[0]}`, "Dashboard") };
  for (const folder of fs.readdirSync(`${raw}/composable`)) {
    const panel = PANELS[folder.toLowerCase()];
    if (!panel) continue;
    const path = `${raw}/composable/${folder}/${types(`${raw}/composable/${folder}`)[0]}`;
    const names = [...fs.readFileSync(path, "utf8").matchAll(/export interface (\w+)/g)].map((found) => found[1]);
    made[panel] = Object.fromEntries(["Options", "FieldConfig"].filter((n) => names.includes(n)).map((n) => [n, make(path, n)]));
  }
  fs.writeFileSync(`grafana-${version}.json`, JSON.stringify(made) + "\n");
}
