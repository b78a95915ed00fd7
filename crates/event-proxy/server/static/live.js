// Keeps rates, charts and counts up to date, from one question a second.
'use strict';
{
  const EVERY = 1000;
  const WINDOW = 120_000;
  const STATES = ['accepted', 'delivered', 'queued', 'retrying', 'dead', 'discarded'];
  const number = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
  const few = new Intl.NumberFormat('en-US', { maximumFractionDigits: 1 });
  const rate = (events) => (events < 100 ? few : number).format(events);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const source = document.querySelector('[data-live]').dataset.live;

  // samples outlive a look at another page
  const KEPT = 'event-proxy-samples';
  const kept = () => {
    try {
      return JSON.parse(sessionStorage.getItem(KEPT)) ?? [];
    } catch {
      return [];
    }
  };
  let samples = kept();
  let before = null;

  const bytes = (count) => {
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
    let unit = 0;
    while (count >= 1024 && unit < units.length - 1) {
      count /= 1024;
      unit += 1;
    }
    return `${unit > 0 && count < 10 ? count.toFixed(1) : count.toFixed(0)} ${units[unit]}`;
  };

  const nothing = () => Object.fromEntries(STATES.map((state) => [state, 0]));
  const add = (to, ledger) => {
    for (const state of STATES) to[state] += ledger[state];
    return to;
  };

  const byTopic = (nodes) => {
    const topics = new Map();
    for (const node of nodes) {
      for (const [topic, ledger] of Object.entries(node.topics)) {
        topics.set(topic, add(topics.get(topic) ?? nothing(), ledger));
      }
    }
    return topics;
  };

  // a second, by proxy and topic: one that was away is not counted at once when it is back
  const rates = (nodes, at) => {
    const topics = new Map();
    const sum = { accepted: 0, delivered: 0 };
    if (!before) return null;
    const seconds = (at - before.at) / 1000;
    for (const node of nodes) {
      const then = before.nodes.find((other) => other.name === node.name && !other.away);
      if (!then || node.away) continue;
      for (const [topic, ledger] of Object.entries(node.topics)) {
        const since = (state) => Math.max(0, ledger[state] - (then.topics[topic]?.[state] ?? 0)) / seconds;
        topics.set(topic, (topics.get(topic) ?? 0) + since('accepted'));
        sum.accepted += since('accepted');
        sum.delivered += since('delivered');
      }
    }
    return { topics, ...sum };
  };

  const set = (element, text) => {
    if (element && element.textContent !== text) element.textContent = text;
  };

  const draw = (name, now) => {
    const svg = document.querySelector(`[data-spark=${name}]`);
    if (!svg || samples.length < 2) return;
    const most = Math.max(...samples.map((sample) => sample[name]));
    const x = (at) => (240 - ((now - at) / WINDOW) * 240).toFixed(1);
    const y = (value) => (47 - (most > 0 ? value / most : 0) * 43).toFixed(1);
    const line = samples.map((sample) => `${x(sample.at)} ${y(sample[name])}`).join('L');
    svg.querySelector('.line').setAttribute('d', `M${line}`);
    svg.querySelector('.area').setAttribute('d', `M${x(samples[0].at)} 47L${line}L${x(samples.at(-1).at)} 47Z`);
    set(document.querySelector(`[data-peak=${name}]`), most > 0 ? `peak ${rate(most)}` : '');
  };

  const fill = (row, ledger, perSecond) => {
    const values = { ...ledger, waiting: ledger.queued + ledger.retrying };
    for (const cell of all('[data-of]', row)) {
      const of = cell.dataset.of;
      if (of === 'rate') {
        set(cell, perSecond === undefined ? '–' : `${rate(perSecond)}/s`);
      } else {
        set(cell, number.format(values[of]));
        if (of !== 'accepted' && of !== 'delivered') cell.classList.toggle('zero', values[of] === 0);
      }
    }
  };

  const showLedger = (topics, total, now) => {
    const table = document.querySelector('[data-ledger]');
    if (!table) return;
    const [body, template] = [table.tBodies[0], document.querySelector('[data-row]')];
    for (const name of [...topics.keys()].sort()) {
      if (all('tr', body).some((row) => row.dataset.topic === name)) continue;
      const row = template.content.firstElementChild.cloneNode(true);
      row.dataset.topic = name;
      const link = row.querySelector('[data-name]');
      link.href = `/admin/topics/${encodeURIComponent(name)}`;
      link.textContent = name;
      body.insertBefore(row, all('tr', body).find((other) => other.dataset.topic > name) ?? null);
    }
    table.hidden = topics.size === 0;
    document.querySelector('[data-no-topics]').hidden = topics.size > 0;
    table.tFoot.hidden = topics.size < 2;
    fill(table.tFoot.rows[0], total, now?.accepted);
  };

  const state = (node) => {
    if (node.away) return ['bad', node.away];
    if (node.log_bytes >= node.log_limit) return ['bad', 'The log is full'];
    if (node.kafka_away) return ['warn', `Kafka is away: ${node.kafka_away}`];
    return ['ok', node.to_kafka ? 'Kafka is there' : 'No Kafka is set: events stay in the log'];
  };

  const showNodes = (nodes) => {
    const list = document.querySelector('[data-nodes]');
    if (!list) return;
    nodes.forEach((node, at) => {
      const item = list.children[at] ?? list.appendChild(
        document.querySelector('[data-node-row]').content.firstElementChild.cloneNode(true));
      const [colour, told] = state(node);
      const sum = Object.values(node.topics).reduce(add, nothing());
      set(item.querySelector('.name'), node.name);
      item.querySelector('[data-dot]').className = `dot ${colour}`;
      set(item.querySelector('[data-told]'), told);
      item.querySelector('.facts').hidden = Boolean(node.away);
      set(item.querySelector('[data-node-waiting]'), number.format(sum.queued + sum.retrying));
      set(item.querySelector('[data-node-bytes]'), bytes(node.log_bytes));
    });
    while (list.children.length > nodes.length) list.lastElementChild.remove();
  };

  const oldest = (nodes) => {
    const since = nodes.map((node) => node.waits_since).filter(Boolean).map((at) => Date.parse(at));
    if (since.length === 0) return '';
    const seconds = Math.max(0, Math.round((Date.now() - Math.min(...since)) / 1000));
    const [minutes, hours] = [Math.floor(seconds / 60), Math.floor(seconds / 3600)];
    const shown = hours > 0 ? `${hours} h ${minutes % 60} min` : minutes > 0 ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
    return `Oldest waits ${shown}`;
  };

  const showTiles = (nodes, total, now) => {
    if (!document.querySelector('.tiles')) return;
    const waiting = total.queued + total.retrying;
    if (now) {
      set(document.querySelector('[data-figure=accepted]'), rate(now.accepted));
      set(document.querySelector('[data-figure=delivered]'), rate(now.delivered));
    }
    set(document.querySelector('[data-figure=waiting]'), number.format(waiting));
    set(document.querySelector('[data-oldest]'), waiting > 0 ? oldest(nodes) : 'Nothing waits');
    for (const name of ['accepted', 'delivered']) {
      set(document.querySelector(`[data-total=${name}]`), number.format(total[name]));
    }
    const used = nodes.reduce((sum, node) => sum + node.log_bytes, 0);
    const limit = nodes.reduce((sum, node) => sum + node.log_limit, 0);
    const share = Math.min(100, Math.floor((used * 100) / Math.max(1, limit)));
    set(document.querySelector('[data-log-used]'), bytes(used));
    set(document.querySelector('[data-log-limit]'), bytes(limit));
    set(document.querySelector('[data-log-share]'), String(share));
    document.querySelector('[data-log-meter]').value = share;
    const missing = [...new Set(nodes.flatMap((node) => node.missing))].sort();
    document.getElementById('missing').hidden = missing.length === 0;
    set(document.querySelector('[data-missing]'), missing.join(', '));
  };

  const show = (nodes) => {
    const at = Date.now();
    const topics = byTopic(nodes);
    const total = [...topics.values()].reduce(add, nothing());
    const now = rates(nodes, at);
    before = { at, nodes };
    if (now) {
      const sample = { at, accepted: now.accepted, delivered: now.delivered, waiting: total.queued + total.retrying };
      samples = [...samples, sample].filter((kept) => at - kept.at < WINDOW);
      sessionStorage.setItem(KEPT, JSON.stringify(samples));
    }
    showTiles(nodes, total, now);
    showNodes(nodes);
    showLedger(topics, total, now);
    for (const row of all('tbody tr[data-topic]')) {
      const ledger = topics.get(row.dataset.topic);
      if (ledger) fill(row, ledger, now ? now.topics.get(row.dataset.topic) ?? 0 : undefined);
    }
    ['accepted', 'delivered', 'waiting'].forEach((name) => draw(name, at));
  };

  const tell = (colour, text) => {
    const live = document.getElementById('live');
    if (!live) return;
    live.firstElementChild.className = `dot ${colour}`;
    set(live.lastElementChild, text);
  };

  const ask = async () => {
    try {
      const answer = await fetch(source, { headers: { accept: 'application/json' } });
      if (answer.status === 401) return location.reload();
      if (!answer.ok) throw new Error(String(answer.status));
      show((await answer.json()).nodes);
      tell('ok', 'Live');
    } catch {
      before = null;
      tell('bad', 'The proxy does not answer; trying again');
    }
    setTimeout(ask, EVERY);
  };

  ask();
}
