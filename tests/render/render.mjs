// Draws dashboards in Chromium: node render.mjs PROMETHEUS_URL SECONDS FOLDER DASHBOARD.json...
//
// Asks the Prometheus at PROMETHEUS_URL about its last SECONDS, writes one picture a dashboard into FOLDER, and fails if a panel
// is empty, a query is refused, or a component throws.
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import esbuild from 'esbuild';
import { chromium } from 'playwright-core';

const [prometheus, seconds, folder, ...files] = process.argv.slice(2);
const bundle = await esbuild.build({
  entryPoints: [path.join(import.meta.dirname, 'app.jsx')], bundle: true, write: false, format: 'esm', jsx: 'automatic', target: 'es2022', logLevel: 'error',
  outdir: 'out', define: { 'process.env.NODE_ENV': '"production"', global: 'globalThis' },
  loader: { '.svg': 'dataurl', '.png': 'dataurl', '.woff2': 'dataurl', '.ttf': 'dataurl', '.css': 'css' },
});
const script = bundle.outputFiles.find((file) => file.path.endsWith('.js')).text;
const styles = bundle.outputFiles.find((file) => file.path.endsWith('.css'))?.text ?? '';

const to = Math.floor(Date.now() / 1000);
const step = Math.max(1, Math.round(Number(seconds) / 200));
// Page and Prometheus at one origin, for the browser's sake.
const server = http.createServer(async (request, response) => {
  const url = new URL(request.url, 'http://page');
  if (url.pathname.startsWith('/api/')) {
    const answer = await fetch(prometheus + request.url);
    response.writeHead(answer.status, { 'Content-Type': 'application/json' }).end(await answer.text());
  } else if (url.pathname === '/app.js') {
    response.writeHead(200, { 'Content-Type': 'text/javascript' }).end(script);
  } else if (url.pathname === '/') {
    const given = { dashboard: JSON.parse(fs.readFileSync(files[Number(url.searchParams.get('n'))], 'utf8')), prometheus: '', from: to - Number(seconds), to, step };
    response.writeHead(200, { 'Content-Type': 'text/html' }).end(
      `<!doctype html><meta charset="utf-8"><style>${styles} body { margin: 12px; background: #f4f5f5; }</style><div id="root"></div>` +
      `<script>window.given = ${JSON.stringify(given).replaceAll('<', '\\u003c')}</script><script type="module" src="/app.js"></script>`);
  } else {
    response.writeHead(404).end();
  }
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));

const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
let problems = [];
for (const [number, file] of files.entries()) {
  const page = await browser.newPage({ viewport: { width: 1464, height: 1000 } });
  page.on('pageerror', (error) => problems.push(`${file}: ${error.message}`));
  await page.goto(`http://127.0.0.1:${server.address().port}/?n=${number}`);
  try {
    await page.waitForFunction('window.finished', null, { timeout: 60_000 });
    problems.push(...(await page.evaluate('window.problems')).map((problem) => `${file}: ${problem}`));
    const empty = await page.evaluate(() => [...document.querySelectorAll('[data-panel]')].filter((panel) => !panel.innerText.replace(panel.dataset.panel, '').trim() && !panel.querySelector('canvas, svg')).map((panel) => panel.dataset.panel));
    problems.push(...empty.map((title) => `${file}: ${title}: nothing is drawn`));
  } catch (error) {
    problems.push(`${file}: ${error.message}`);
  }
  await page.screenshot({ path: path.join(folder, `${path.basename(file, '.json')}.png`), fullPage: true });
  console.log(`${file}: drawn`);
}
await browser.close();
server.close();
if (problems.length) {
  console.error(problems.join('\n'));
  process.exitCode = 1;
}
