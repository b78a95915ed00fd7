// Tries the event proxy's pages in Chromium, against a proxy of its own.
//
//   node page-tests/pages.mjs PROXY CHROMIUM TOOLS OUT
//
// PROXY and CHROMIUM are programs, TOOLS is the folder in which the packages are installed, and OUT is where the
// screenshots go. With KAFKA_BOOTSTRAP_SERVERS that Kafka is used, too. The last line is `N passed, N failed`.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';

const [proxyProgram, chromiumProgram, tools, out] = process.argv.slice(2);
const { chromium } = createRequire(path.resolve(tools, 'package.json'))('playwright-core');

const PASSWORD = 'correct horse battery staple';
const PHONE = { width: 360, height: 740 };
const DESKTOP = { width: 1440, height: 900 };
const folder = mkdtempSync(path.join(tmpdir(), 'jangteo-pages-'));
const running = new Set();

const freePort = () =>
  new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

/** A proxy that runs; `stop` has it finish what it began, for which it would wait an hour. */
async function start(name, settings = {}) {
  const data = path.join(folder, name);
  const environment = {
    ...process.env,
    EVENT_PROXY__HTTP__ADDRESS: '127.0.0.1:0',
    EVENT_PROXY__DATA_DIR: data,
    EVENT_PROXY__NODE__NAME: name,
    EVENT_PROXY__ADMIN__PASSWORD: PASSWORD,
    EVENT_PROXY__LOG__FILTER: 'warn',
    EVENT_PROXY__HTTP__SHUTDOWN_TIMEOUT: '1h',
    ...settings,
  };
  const process_ = spawn(path.resolve(proxyProgram), [], {
    cwd: folder, env: environment, stdio: ['ignore', 'pipe', 'inherit'],
  });
  running.add(process_);
  const exited = new Promise((resolve) => process_.once('exit', (code) => {
    running.delete(process_);
    resolve(code);
  }));
  for await (const line of createInterface({ input: process_.stdout })) {
    const said = line.match(/is at (http:\/\/[^/]+)\/v1/);
    if (!said) continue;
    const stop = async () => {
      process_.kill('SIGTERM');
      assert.equal(await exited, 0);
    };
    return { url: said[1], data, stop };
  }
  throw new Error(`${name} did not start`);
}

async function post(proxy, ...events) {
  const answer = await fetch(`${proxy.url}/v1/events`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(events),
  });
  assert.equal(answer.status, 202, await answer.text());
}

const event = (key, data, more = {}) => ({ service: 'order', type: 'paid', key, data, ...more });

/** Puts events where those are that Kafka refused; the proxy must not run. */
function refuse(data, rows) {
  const program = `
import json, sqlite3, sys
log = sqlite3.connect(sys.argv[1])
for row in json.load(sys.stdin):
    marks = ", ".join("?" * len(row))
    log.execute(f"INSERT INTO held ({', '.join(row)}) VALUES ({marks})",
                [bytes.fromhex(v) if k == "id" else v for k, v in row.items()])
log.commit()
`;
  execFileSync('python3', ['-c', program, path.join(data, 'log.db')], { input: JSON.stringify(rows) });
}

function refused(number, state) {
  const now = Date.now() * 1000 - number * 60_000_000;
  const key = `order-${number}`;
  return {
    id: randomUUID().replaceAll('-', ''), topic: 'order.paid', partition: number % 3, position: 1000 + number, key,
    state, attempts: 6, next_attempt_at: state === 'retrying' ? now + 600_000_000_000 : null,
    reason: number % 2 ? 'MessageSizeTooLarge: Broker: Message size too large' : 'PolicyViolation: Broker: Policy violation',
    refused_at: now, changed_at: now, kind: 'order.paid', version: 1, aggregate_version: 0, occurred_at: now,
    traceparent: null,
    payload: JSON.stringify({ service: 'order', type: 'paid', key, id: key, data: { amount: number * 100, note: '<b>no markup</b>' } }),
  };
}

const results = { passed: 0, failed: 0 };
async function check(name, does) {
  try {
    await does();
    results.passed += 1;
    console.log(`ok      ${name}`);
  } catch (error) {
    results.failed += 1;
    console.log(`FAILED  ${name}\n${error.stack}`);
  }
}

/** A page of a browser of its own, which notes all that goes wrong in it. */
async function open(browser, wrong, options = {}) {
  const context = await browser.newContext({ viewport: DESKTOP, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  page.on('pageerror', (error) => wrong.push(`${page.url()}: ${error}`));
  page.on('console', (message) => {
    // that a form was refused, the browser notes by itself
    if (/status of (401|422)/.test(message.text())) return;
    if (message.type() === 'error' || /Content Security Policy/i.test(message.text())) {
      wrong.push(`${page.url()}: ${message.text()}`);
    }
  });
  return page;
}

async function signIn(page, proxy, where = '/admin') {
  await page.goto(`${proxy.url}${where}`);
  await page.getByLabel('Admin password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.waitForURL(`${proxy.url}${where}`);
}

async function isNarrow(page) {
  const [content, window_] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(content <= window_, `${page.url()} is ${content} wide in ${window_}`);
}

async function signingIn(page, proxy) {
  await check('who is not signed in is sent to the sign-in, and then to where they wanted', async () => {
    await page.goto(`${proxy.url}/admin/audit?limit=5`);
    assert.equal(page.url(), `${proxy.url}/admin/sign-in?next=%2Fadmin%2Faudit%3Flimit%3D5`);
    await page.keyboard.type('not the password');
    await page.keyboard.press('Enter');
    await page.getByText('This is not the password.').waitFor();
    await page.keyboard.type(PASSWORD);
    await page.keyboard.press('Enter');
    await page.waitForURL(`${proxy.url}/admin/audit?limit=5`);
  });
  await check('the sign-in leads to pages of the proxy only', async () => {
    await page.goto(`${proxy.url}/admin/sign-in?next=https://example.com/admin`);
    assert.equal(page.url(), `${proxy.url}/admin`);
  });
}

async function overview(page, proxy) {
  await check('the overview follows what is posted', async () => {
    await page.goto(`${proxy.url}/admin`);
    await page.getByText('No events yet.').waitFor();
    await post(proxy, ...Array.from({ length: 1234 }, (_, n) => event(`k${n % 20}`, { n })));
    await page.locator('[data-total=accepted]', { hasText: '1,234' }).waitFor();
    const row = page.locator('tr[data-topic="order.paid"]');
    await row.locator('[data-of=delivered]', { hasText: '1,234' }).waitFor();
    await page.getByText('No events yet.').waitFor({ state: 'hidden' });
    await page.locator('[data-spark=accepted] .line[d]').waitFor({ state: 'attached' });
  });
}

async function topics(page, proxy) {
  await check('a set of topics is made', async () => {
    await page.goto(`${proxy.url}/admin/topics`);
    await page.getByText('Make topics').click();
    await page.getByLabel('Services').fill('payment, stock');
    await page.getByLabel('Types').fill('failed late');
    await page.getByText('Makes 4 topics.').waitFor();
    await page.getByLabel('Partitions').fill('5');
    await page.getByLabel('Retention').fill('7d');
    await page.getByRole('button', { name: 'Make', exact: true }).click();
    await page.getByText('Made 4 topics.').waitFor();
    const row = page.locator('tr[data-topic="stock.late"]');
    assert.match(await row.innerText(), /active\s+5\s+brokers’\s+7 days/);
  });
  await check('what a topic can not be is said beside the form, which keeps what was typed', async () => {
    await page.getByText('Make topics').click();
    await page.getByLabel('Name').fill('no good!');
    await page.getByRole('button', { name: 'Make', exact: true }).click();
    await page.getByRole('alert').filter({ hasText: 'name: must be' }).waitFor();
    assert.equal(await page.getByLabel('Name').inputValue(), 'no good!');
  });
  await check('a topic is deleted only when its name is typed, by keyboard too', async () => {
    await page.goto(`${proxy.url}/admin/topics/stock.late`);
    const summary = page.getByText('Delete this topic');
    await summary.focus();
    await page.keyboard.press('Enter');
    await page.keyboard.press('Tab');
    const button = page.getByRole('button', { name: 'Delete the topic' });
    await page.keyboard.type('stock.lat');
    assert.ok(await button.isDisabled());
    await page.keyboard.type('e');
    assert.ok(await button.isEnabled());
    await page.keyboard.press('Enter');
    await page.getByText('Deleted stock.late.').waitFor();
    await page.locator('tr[data-topic="stock.late"]').getByText('deleted').waitFor();
    await page.getByRole('link', { name: 'stock.late' }).click();
    await page.getByRole('button', { name: 'Make it again' }).click();
    await page.getByText('Made 1 topic.').waitFor();
  });
}

async function tail(page, proxy) {
  const rows = page.locator('[data-events] > li');
  const newest = async (text) => rows.first().filter({ hasText: text }).waitFor();
  await check('the live tail shows the last events and those that come', async () => {
    await page.goto(`${proxy.url}/admin/topics/order.paid`);
    await page.locator('[data-state]', { hasText: 'Live' }).waitFor();
    await rows.nth(49).waitFor();
    assert.equal(await rows.count(), 50);
    await post(proxy, event('order-17', { note: 'first <script>' }, { level: 'error' }));
    await newest('first <script>');
    await rows.first().locator('summary').focus();
    await page.keyboard.press('Enter');
    await rows.first().getByText('"note": "first <script>"').waitFor();
  });
  await check('what is deep is not laid out', async () => {
    const deep = `${'['.repeat(100)}${'1,'.repeat(2_000)}1${']'.repeat(100)}`;
    await post(proxy, event('order-16', JSON.parse(deep)));
    await newest('[[[[');
    const text = await rows.first().locator('pre code').textContent();
    assert.ok(text.length < 4 * deep.length, `${text.length} letters`);
  });
  await check('it filters by key and by text', async () => {
    await page.getByLabel('Key').fill('order-17');
    await page.keyboard.press('Enter');
    await newest('first');
    await post(proxy, event('order-18', { note: 'not this' }), event('order-17', { note: 'second' }));
    await newest('second');
    assert.equal(await rows.count(), 2);
    await page.getByLabel('Key').fill('');
    await page.getByLabel('Text').fill('NOT THIS');
    await page.getByRole('button', { name: 'Filter' }).click();
    await newest('not this');
    assert.equal(await rows.count(), 1);
    await page.getByLabel('Text').fill('');
    await page.getByRole('button', { name: 'Filter' }).click();
    await rows.nth(49).waitFor();
  });
  await check('it is paused, holds back, and goes on', async () => {
    await page.getByRole('button', { name: 'Pause' }).click();
    await post(proxy, event('order-19', { note: 'held back' }));
    await page.getByText('Paused; 1 new event held back.').waitFor();
    assert.equal(await rows.filter({ hasText: 'held back' }).count(), 0);
    await page.getByRole('button', { name: 'Resume' }).click();
    await newest('held back');
  });
  await check('it says what it skipped when too many come at once', async () => {
    await post(proxy, ...Array.from({ length: 3000 }, (_, n) => event(`many-${n % 50}`, { n })));
    await rows.filter({ hasText: /events that came at once were skipped/ }).first().waitFor();
    assert.ok((await rows.count()) <= 500);
  });
}

async function deadLetters(page, proxy) {
  await check('dead letters are searched', async () => {
    await page.goto(`${proxy.url}/admin/dead-letters`);
    assert.equal(await page.locator('.letters > li').count(), 20);
    await page.getByRole('link', { name: 'Older' }).click();
    await page.locator('.letters > li').nth(3).waitFor();
    assert.equal(await page.locator('.letters > li').count(), 4);
    await page.getByLabel('Reason contains').fill('size too');
    await page.getByRole('button', { name: 'Filter' }).click();
    await page.waitForURL(/error=size\+too$/);
    await page.locator('.letters > li').nth(11).waitFor();
    assert.equal(await page.locator('.letters > li').count(), 12);
    await page.getByRole('link', { name: 'Retrying' }).click();
    await page.getByText('order-90', { exact: true }).waitFor();
  });
  await check('why, and the event', async () => {
    await page.goto(`${proxy.url}/admin/dead-letters?key=order-3`);
    await page.locator('.letters summary').focus();
    await page.keyboard.press('Enter');
    await page.locator('pre').getByText('"note": "<b>no markup</b>"').waitFor();
  });
  await check('one is given up, for a reason', async () => {
    await page.getByLabel('Reason to discard it').fill('a test order');
    await page.getByRole('button', { name: 'Discard' }).click();
    await page.getByText('Discarded one event.').waitFor();
  });
  await check('it is shown how many there are before they are sent again', async () => {
    await page.getByLabel('Reason contains').fill('size too');
    await page.getByRole('button', { name: 'Filter' }).click();
    await page.getByRole('button', { name: 'Send all that fit again…' }).click();
    await page.locator('[data-matched]', { hasText: '11 dead events' }).waitFor();
    await page.getByRole('button', { name: 'Send 11 events again' }).click();
    await page.getByText('11 events sent again.').waitFor();
    await page.locator('.letters > li').nth(11).waitFor(); // the page comes in pieces
    assert.equal(await page.locator('.letters > li').count(), 12);
    const ledger = await (await fetch(`${proxy.url}/v1/ledger`)).json();
    assert.equal(ledger['order.paid'].dead, 12);
  });
}

async function keys(page, proxy) {
  let key;
  await check('an API key is made and shown once', async () => {
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    await page.goto(`${proxy.url}/admin/keys`);
    await page.getByLabel('Name').fill('Order team');
    await page.getByLabel('Services').fill('order');
    await page.getByLabel('Events a second').fill('1000');
    await page.getByRole('button', { name: 'Make the key' }).click();
    key = await page.locator('#secret').innerText();
    await page.getByRole('button', { name: 'Copy' }).click();
    await page.getByRole('button', { name: 'Copied' }).waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), key);
    await page.goto(`${proxy.url}/admin/keys`);
    assert.ok(!(await page.content()).includes(key));
    assert.match(await page.locator('.keys').innerText(), /order;\s+1,000 events\/s/);
  });
  const posts = (key_) => fetch(`${proxy.url}/v1/events`, {
    method: 'POST', body: JSON.stringify(event('k', 1)),
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key_}` },
  });
  await check('it is rotated and revoked', async () => {
    assert.equal((await posts(key)).status, 202);
    await page.getByText('Rotate', { exact: true }).click();
    await page.getByRole('button', { name: 'Rotate Order team' }).click();
    const next = await page.locator('#secret').innerText();
    assert.equal((await posts(key)).status, 401);
    assert.equal((await posts(next)).status, 202);
    await page.getByText('Revoke', { exact: true }).click();
    await page.getByRole('button', { name: 'Revoke Order team' }).click();
    await page.getByText('Every proxy refuses it').waitFor();
    assert.equal((await posts(next)).status, 401);
  });
}

async function audit(page, proxy) {
  await check('the audit log has all of it, page by page', async () => {
    await page.goto(`${proxy.url}/admin/audit?limit=4`);
    const actions = [];
    for (;;) {
      actions.push(...(await page.locator('td[data-label=Action]').allInnerTexts()));
      const older = page.getByRole('link', { name: 'Older' });
      if (!(await older.count())) break;
      await older.click();
    }
    const expected = ['api-key.revoke', 'api-key.rotate', 'api-key.create', 'dead-letters.redrive', 'dead-letters.discard',
      'topic.create', 'topic.delete', ...Array(4).fill('topic.create'), 'admin.wrong-password'];
    assert.deepEqual(actions.map((action) => action.trim()), expected);
  });
}

async function byKeyboard(page, proxy) {
  await check('every page is reached by keyboard, with the focus to be seen', async () => {
    await page.goto(`${proxy.url}/admin`);
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to the content');
    const seen = [];
    for (let tab = 0; tab < 7; tab += 1) {
      await page.keyboard.press('Tab');
      const [name, outline] = await page.evaluate(() => {
        const style = getComputedStyle(document.activeElement);
        return [document.activeElement.textContent.trim(), `${style.outlineStyle} ${style.outlineWidth}`];
      });
      assert.equal(outline, 'solid 2px', name);
      seen.push(name);
    }
    assert.deepEqual(seen.slice(1), ['Overview', 'Topics', 'Dead letters', 'API keys', 'Audit log', 'Sign out']);
  });
}

async function screenshots(browser, proxy, wrong) {
  const pages = ['', '/topics', '/topics/order.paid', '/dead-letters', '/keys', '/audit'];
  for (const [width, viewport] of Object.entries({ phone: PHONE, desktop: DESKTOP })) {
    for (const colorScheme of ['light', 'dark']) {
      await check(`pages on a ${width}, ${colorScheme}`, async () => {
        const page = await open(browser, wrong, { viewport, colorScheme, timezoneId: 'Asia/Seoul' });
        const shoot = async (name) => {
          await isNarrow(page);
          await page.screenshot({ path: path.join(out, `${name}-${width}-${colorScheme}.png`), fullPage: true });
        };
        await page.goto(`${proxy.url}/admin`);
        await shoot('sign-in');
        await signIn(page, proxy);
        for (const place of pages) {
          await page.goto(`${proxy.url}/admin${place}`);
          if (place === '') await page.locator('[data-spark=accepted] .line[d*=L]').waitFor({ state: 'attached' });
          if (place.includes('order')) await page.locator('[data-events] > li').nth(40).waitFor();
          const first = page.locator('main details > summary').first();
          if (place !== '' && (await first.count())) await first.click();
          await shoot(place.slice(1).replaceAll(/[^a-z]+/g, '-') || 'overview');
        }
        await page.context().close();
      });
    }
  }
}

async function onKafka(browser, wrong, servers) {
  await check('on Kafka: what it refuses is a dead letter, and is delivered when it is sent again', async () => {
    const settings = {
      EVENT_PROXY__BUS__BACKEND: 'kafka',
      EVENT_PROXY__BUS__KAFKA__BOOTSTRAP_SERVERS: servers,
      EVENT_PROXY__BUS__KAFKA__PREFIX: `pages-${randomUUID()}-`,
      EVENT_PROXY__DELIVERY__MAX_RESENDS: '0',
    };
    let proxy = await start('kafka', { ...settings, EVENT_PROXY__BUS__KAFKA__PROPERTIES__MESSAGE_MAX_BYTES: '2000' });
    await post(proxy, event('small', 1), event('large', 'x'.repeat(5000)));
    const page = await open(browser, wrong);
    await signIn(page, proxy);
    const row = page.locator('tr[data-topic="order.paid"]');
    await row.locator('[data-of=dead]', { hasText: /^1$/ }).waitFor();
    await row.locator('[data-of=delivered]', { hasText: /^1$/ }).waitFor();
    await page.screenshot({ path: path.join(out, 'kafka-desktop-light.png'), fullPage: true });
    await page.goto(`${proxy.url}/admin/topics/order.paid`);
    await page.locator('[data-events] > li', { hasText: 'small' }).waitFor();
    assert.equal(await page.locator('[data-events] > li').count(), 1);
    await page.goto('about:blank');
    await proxy.stop();
    proxy = await start('kafka', settings);
    await page.goto(`${proxy.url}/admin/dead-letters`);
    await page.locator('.letters').getByText('large', { exact: true }).waitFor();
    await page.getByRole('button', { name: 'Send all again…' }).click();
    await page.getByRole('button', { name: 'Send 1 event again' }).click();
    await page.getByText('1 event sent again.').waitFor();
    await page.goto(`${proxy.url}/admin`);
    await row.locator('[data-of=delivered]', { hasText: /^2$/ }).waitFor();
    await row.locator('[data-of=dead]', { hasText: /^0$/ }).waitFor();
    await page.context().close();
    await proxy.stop();
  });
}

async function several(browser, wrong) {
  await check('all proxies together, and one that is away', async () => {
    const ports = [await freePort(), await freePort()];
    const urls = ports.map((port) => `http://127.0.0.1:${port}`);
    const settings = (own) => ({
      EVENT_PROXY__HTTP__ADDRESS: `127.0.0.1:${ports[own]}`, EVENT_PROXY__NODE__PEERS: urls[1 - own],
    });
    const [one, two] = [await start('seoul', settings(0)), await start('busan', settings(1))];
    await post(one, event('k1', 1));
    await post(two, event('k2', 2), event('k3', 3));
    const page = await open(browser, wrong);
    await signIn(page, one);
    await page.locator('[data-total=accepted]', { hasText: /^3$/ }).waitFor();
    assert.deepEqual(await page.locator('[data-nodes] .name').allInnerTexts(), ['seoul', 'busan']);
    await two.stop();
    await page.locator('[data-nodes]').getByText('It does not answer').waitFor();
    await page.screenshot({ path: path.join(out, 'peer-away-desktop-light.png'), fullPage: true });
    await page.context().close();
    await one.stop();
  });
}

async function main() {
  mkdirSync(out, { recursive: true });
  let proxy = await start('proxy');
  await proxy.stop();
  const dead = Array.from({ length: 24 }, (_, n) => refused(n, 'dead'));
  const browser = await chromium.launch({
    executablePath: chromiumProgram, args: ['--no-sandbox', '--disable-dev-shm-usage'],
  });
  const wrong = [];
  try {
    proxy = await start('proxy');
    const page = await open(browser, wrong);
    await signingIn(page, proxy);
    await overview(page, proxy);
    await topics(page, proxy);
    await tail(page, proxy);
    await check('a stop does not wait for a live tail', async () => {
      await page.goto(`${proxy.url}/admin/topics/order.paid`);
      await page.locator('[data-state]', { hasText: 'Live' }).waitFor();
      await proxy.stop();
      await page.locator('[data-state]', { hasText: 'does not answer' }).waitFor();
      await page.goto('about:blank');
      assert.ok(wrong.splice(0).every((said) => /ERR_(CONNECTION_REFUSED|INCOMPLETE_CHUNKED_ENCODING)/.test(said)));
    });
    refuse(proxy.data, [...dead, refused(90, 'retrying')]);
    proxy = await start('proxy');
    await deadLetters(page, proxy);
    await keys(page, proxy);
    await audit(page, proxy);
    await byKeyboard(page, proxy);
    await screenshots(browser, proxy, wrong);
    await check('who signs out is signed out', async () => {
      await page.goto(`${proxy.url}/admin`);
      await page.getByRole('button', { name: 'Sign out' }).click();
      await page.waitForURL(`${proxy.url}/admin/sign-in`);
      await page.goto(`${proxy.url}/admin/topics`);
      assert.equal(page.url(), `${proxy.url}/admin/sign-in?next=%2Fadmin%2Ftopics`);
    });
    await page.context().close();
    await check('no error in the console, and nothing that the policy refused', () => assert.deepEqual(wrong, []));
    await several(browser, []);
    if (process.env.KAFKA_BOOTSTRAP_SERVERS) await onKafka(browser, [], process.env.KAFKA_BOOTSTRAP_SERVERS);
    await check('the proxy stops', () => proxy.stop());
  } finally {
    await browser.close();
  }
}

try {
  await main();
} catch (error) {
  results.failed += 1;
  console.log(error.stack);
} finally {
  for (const process_ of running) process_.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
}
console.log(`${results.passed} passed, ${results.failed} failed`);
process.exitCode = results.failed > 0 ? 1 : 0;
