// Checks dashboards against Grafana's own types: node schema.mjs DASHBOARD.json...
//
// The types of @grafana/schema become JSON Schema, so a misspelt key or a value that an option does not take is an error.
import fs from 'node:fs';
import path from 'node:path';
import Ajv from 'ajv';
import { createGenerator } from 'ts-json-schema-generator';

// Beside this script: its folder is where the packages are installed.
const here = import.meta.dirname;
// By path: the package does not export them by name.
const raw = './node_modules/@grafana/schema/dist/types/raw';
const kinds = { timeseries: 'TimeSeries', stat: 'Stat', gauge: 'Gauge' };

const source = path.join(here, 'types.ts');
const types = { Dashboard: 'dashboard/x/types.gen#Dashboard', TimeSeriesCustom: 'composable/timeseries/panelcfg/x/types.gen#FieldConfig' };
for (const [kind, name] of Object.entries(kinds)) types[`${name}Options`] = `composable/${kind}/panelcfg/x/types.gen#Options`;
fs.writeFileSync(source, Object.entries(types).map(([name, from]) => {
  const [file, type] = from.split('#');
  return `import type { ${type} as ${name}Type } from '${raw}/${file}';\nexport type ${name} = ${name}Type;\n`;
}).join(''));
const tsconfig = path.join(here, 'tsconfig.json');
fs.writeFileSync(tsconfig, JSON.stringify({ compilerOptions: { module: 'esnext', moduleResolution: 'bundler', skipLibCheck: true, strict: true } }));

// What a saved dashboard may leave out is filled in by Grafana: only what is there is judged.
function optional(schema) {
  if (Array.isArray(schema)) return schema.map(optional);
  if (schema === null || typeof schema !== 'object') return schema;
  return Object.fromEntries(Object.entries(schema).filter(([key]) => key !== 'required').map(([key, value]) => [key, key === 'enum' ? value : optional(value)]));
}

// `A extends B` becomes an object with all keys of both, so unknown keys are still refused.
const schemas = createGenerator({ path: source, tsconfig, type: '*', skipTypeCheck: true, additionalProperties: false, topRef: false });
const ajv = new Ajv({ strict: false, allErrors: true });
const validators = {};
for (const type of Object.keys(types)) {
  validators[type] = ajv.compile(optional(schemas.createSchema(type)));
}

let problems = 0;
function judge(type, value, place) {
  const validate = validators[type];
  if (validate(value)) return;
  for (const error of validate.errors) {
    // A panel is a panel or a row: the branches that it is not are noise beside the exact one below.
    if (error.keyword === 'anyOf') continue;
    problems += 1;
    console.error(`${place}${error.instancePath}: ${error.message} ${JSON.stringify(error.params)}`);
  }
}

for (const file of process.argv.slice(2)) {
  const dashboard = JSON.parse(fs.readFileSync(file, 'utf8'));
  const { panels, ...rest } = dashboard;
  judge('Dashboard', rest, file);
  for (const panel of panels) {
    const place = `${file}: ${panel.title}`;
    const alone = validators.Dashboard({ panels: [panel] });
    if (!alone) judge('Dashboard', { panels: [panel] }, place);
    if (panel.type === 'row') continue;
    if (!kinds[panel.type]) throw new Error(`${place}: add the panel type ${panel.type} to kinds`);
    judge(`${kinds[panel.type]}Options`, panel.options, `${place}: options`);
    if (panel.type === 'timeseries') judge('TimeSeriesCustom', panel.fieldConfig.defaults.custom, `${place}: custom`);
  }
  console.log(`${file}: ${panels.length} panels checked`);
}
// A checker that finds nothing in nonsense checks nothing.
const wrong = structuredClone(JSON.parse(fs.readFileSync(process.argv[2], 'utf8')).panels.find((panel) => panel.type === 'timeseries'));
wrong.options.legend.placment = 'bottom';
wrong.fieldConfig.defaults.custom.drawStyle = 'lines';
wrong.fieldConfig.defaults.unti = 's';
for (const [type, value] of [['TimeSeriesOptions', wrong.options], ['TimeSeriesCustom', wrong.fieldConfig.defaults.custom], ['Dashboard', { panels: [wrong] }]]) {
  if (validators[type](value)) throw new Error(`${type} accepts nonsense: the schema was not made as it should be`);
}
process.exitCode = problems ? 1 : 0;
