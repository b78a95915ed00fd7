// What every page wants: times in the reader's zone, names that are typed to confirm, keys that are copied.
'use strict';
{
  const two = (number) => String(number).padStart(2, '0');
  const date = (at) => `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const clock = (at) => `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;

  for (const time of document.querySelectorAll('time[datetime]')) {
    const at = new Date(time.dateTime);
    time.textContent = `${date(at)} ${clock(at)}`;
  }

  // a line for each member of the first levels; numbers and texts stay as they were written
  const LAID_OUT = 10;
  const pretty = (json) => {
    const tokens = json.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
    const isOpening = (token) => token === '{' || token === '[';
    const isClosing = (token) => token === '}' || token === ']';
    let depth = 0;
    const line = () => (depth > LAID_OUT ? ' ' : `\n${'  '.repeat(depth)}`);
    return tokens.map((token, at) => {
      if (isOpening(token)) {
        depth += 1;
        return isClosing(tokens[at + 1]) ? token : token + line();
      }
      if (isClosing(token)) {
        depth -= 1;
        return isOpening(tokens[at - 1]) ? token : line() + token;
      }
      return token === ',' ? token + line() : token === ':' ? ': ' : token;
    }).join('');
  };
  globalThis.prettyJson = pretty;
  for (const code of document.querySelectorAll('[data-json]')) code.textContent = pretty(code.textContent);

  // what is chosen in the reader's zone is sent by UTC
  for (const input of document.querySelectorAll('[data-time-of]')) {
    const sent = input.form.elements[input.dataset.timeOf];
    if (sent.value) {
      const at = new Date(sent.value);
      input.value = `${date(at)}T${clock(at)}`;
    }
    input.addEventListener('change', () => {
      sent.value = input.value ? new Date(input.value).toISOString() : '';
    });
  }

  // fields that say nothing would only make the address long
  for (const form of document.querySelectorAll('form[method=get]')) {
    form.addEventListener('formdata', (event) => {
      for (const [name, value] of [...event.formData]) {
        if (!value) event.formData.delete(name);
      }
    });
  }

  for (const form of document.querySelectorAll('[data-confirm]')) {
    const [input, button] = [form.elements.confirm, form.querySelector('button')];
    const check = () => { button.disabled = input.value.trim() !== form.dataset.confirm; };
    input.addEventListener('input', check);
    check();
  }

  for (const button of document.querySelectorAll('[data-copy]')) {
    button.addEventListener('click', async () => {
      const said = document.getElementById(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(said.textContent);
        button.textContent = 'Copied';
      } catch {
        getSelection().selectAllChildren(said);
        button.textContent = 'Selected';
      }
    });
  }

  for (const form of document.querySelectorAll('[data-topic-form]')) {
    const words = (name) => form.elements[name].value.split(/[\s,]+/).filter(Boolean);
    const preview = form.querySelector('[data-preview]');
    form.addEventListener('input', () => {
      const topics = words('services').length * words('types').length || words('name').length;
      preview.textContent = topics ? `Makes ${topics} topic${topics === 1 ? '' : 's'}.` : '';
    });
  }

  for (const origin of document.querySelectorAll('[data-origin]')) origin.textContent = location.origin;
}
