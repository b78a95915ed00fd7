// The live tail of a topic: events as they come, at most so many, held back while it is paused.
'use strict';
{
  const SHOWN = 500;
  const number = new Intl.NumberFormat('en-US');
  const tail = document.querySelector('[data-tail]');
  const part = (name) => tail.querySelector(`[data-${name}]`);
  const [list, told, form, pause, template] = ['events', 'told', 'filter', 'pause', 'event'].map(part);
  const two = (count) => String(count).padStart(2, '0');
  let source = null;
  let paused = false;
  let held = [];
  let lost = 0;

  const tell = (colour, text) => {
    const state = part('state');
    state.firstElementChild.className = `dot ${colour}`;
    if (state.lastElementChild.textContent !== text) state.lastElementChild.textContent = text;
  };

  const LEVEL = /,"level":"(trace|debug|info|warn|error)"$/;
  const DATA = ',"data":';

  const item = (event) => {
    const row = template.content.firstElementChild.cloneNode(true);
    // what was posted begins with the proxy's own fields and ends with the data, as they were written
    const from = event.event.indexOf(DATA);
    const data = event.event.slice(from + DATA.length, event.cut > 0 ? undefined : -1);
    const at = new Date(event.at);
    const time = row.querySelector('time');
    time.dateTime = event.at;
    time.title = event.at;
    time.textContent = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
    const level = row.querySelector('.level');
    level.textContent = event.event.slice(0, from).match(LEVEL)?.[1] ?? '';
    if (level.textContent) level.classList.add(level.textContent);
    const key = row.querySelector('.key');
    key.textContent = event.key;
    key.title = event.key;
    row.querySelector('.brief').textContent = data.slice(0, 500);
    row.querySelector('pre code').textContent = event.cut > 0 ? event.event : prettyJson(event.event);
    const cut = event.cut > 0 ? `, ${number.format(event.cut)} bytes more` : '';
    row.querySelector('.place').textContent =
      `Partition ${event.partition}, position ${number.format(event.position)} of the log, taken ${event.at}${cut}`;
    return row;
  };

  const gap = (events) => {
    const row = document.createElement('li');
    row.className = 'gap';
    row.textContent = `${number.format(events)} events that came at once were skipped`;
    return row;
  };

  const put = (rows) => {
    list.prepend(...rows.reverse());
    while (list.children.length > SHOWN) list.lastElementChild.remove();
  };

  const hold = () => {
    while (held.length > SHOWN) {
      held.shift();
      lost += 1;
    }
    const events = number.format(held.length + lost);
    told.textContent = `Paused; ${events} new event${held.length + lost === 1 ? '' : 's'} held back.`;
  };

  const shown = () => {
    const wanted = ['key', 'text'].map((name) => form.elements[name].value.trim());
    told.textContent = wanted.some(Boolean)
      ? 'Those of the last events that fit, and those that come. The newest is at the top.'
      : 'The last 50 events, and those that come. The newest is at the top.';
  };

  const take = (row) => {
    if (paused) {
      held.push(row);
      hold();
    } else {
      put([row]);
    }
  };

  const askAgain = async () => {
    const answer = await fetch('/admin/overview.json').catch(() => null);
    if (answer?.status === 401) location.reload();
    else setTimeout(open, 2000);
  };

  const open = () => {
    source?.close();
    list.replaceChildren();
    held = [];
    lost = 0;
    const query = new URLSearchParams();
    for (const name of ['key', 'text']) {
      const value = form.elements[name].value.trim();
      if (value) query.set(name, value);
    }
    source = new EventSource(`${tail.dataset.tail}?${query}`);
    source.addEventListener('open', () => tell('ok', paused ? 'Paused' : 'Live'));
    source.addEventListener('event', (event) => take(item(JSON.parse(event.data))));
    source.addEventListener('skipped', (event) => take(gap(Number(event.data))));
    source.addEventListener('error', () => {
      tell('bad', 'The proxy does not answer; trying again');
      // the browser tries again by itself, unless the answer was no stream: the session may be over
      if (source.readyState === EventSource.CLOSED) askAgain();
    });
  };

  const setPaused = (value) => {
    paused = value;
    pause.setAttribute('aria-pressed', String(paused));
    pause.textContent = paused ? 'Resume' : 'Pause';
    tell(paused ? 'warn' : 'ok', paused ? 'Paused' : 'Live');
    if (paused) return hold();
    const rows = lost > 0 ? [gap(lost), ...held] : held;
    put(rows);
    held = [];
    lost = 0;
    shown();
  };

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (paused) setPaused(false);
    shown();
    open();
  });
  pause.addEventListener('click', () => setPaused(!paused));
  part('clear').addEventListener('click', () => list.replaceChildren());
  open();
}
