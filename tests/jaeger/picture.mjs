// Draws a page of Jaeger: node picture.mjs URL FILE. Fails if the trace is not shown.
import { chromium } from 'playwright-core';

const [url, file] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const page = await browser.newPage({ viewport: { width: 1200, height: 960 } });
await page.goto(url);
await page.getByText('result.format', { exact: false }).first().waitFor({ timeout: 60_000 });
// The root's tags, opened as a person would.
await page.getByText('mcp.search', { exact: true }).last().click();
await page.getByText('Tags:', { exact: false }).first().click();
await page.waitForTimeout(1000);
await page.screenshot({ path: file });
await browser.close();
console.log(`${file}: drawn`);
