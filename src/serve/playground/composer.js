// Where questions are written and sampling is set; both columns are asked the same.

import { $, remember, remembered } from './dom.js';

/** What the page starts with: greedy, so that a change of the answer is a change of the recipe. */
const USUAL = { temperature: 0, top_p: 0.95, max_tokens: 256, seed: '', stop: '', system: '', onChange: 'anew', colour: false };
const FIELDS = { temperature: 'temperature', top_p: 'top-p', max_tokens: 'max-tokens', seed: 'seed', stop: 'stop-at', system: 'system' };

/**
 * Wires the composer's fields, which stand in index.html. `onAsk(question)` and `onAgain(question)` are called with what to ask,
 * `onStop()` to be quiet. Gives `settings()` for requests, `editLast(question)`, and `running(on)` for the buttons.
 */
export function composer({ onAsk, onAgain, onStop, lastQuestion }) {
  const kept = { ...USUAL, ...remembered('settings', {}) };
  const question = $('question');
  let editing = false;

  for (const [name, id] of Object.entries(FIELDS)) {
    $(id).value = kept[name];
    $(id).addEventListener('input', () => keep(name, $(id).value));
  }
  $('on-change').value = kept.onChange;
  $('on-change').addEventListener('change', () => keep('onChange', $('on-change').value));
  $('colour-tokens').checked = kept.colour;
  $('colour-tokens').addEventListener('change', () => keep('colour', $('colour-tokens').checked));
  const keep = (name, value) => {
    kept[name] = value;
    remember('settings', kept);
    summarize();
  };
  const summarize = () => {
    const { temperature, max_tokens: most, seed } = kept;
    const parts = [Number(temperature) === 0 ? 'greedy' : `temperature ${temperature}`, `${most} tokens`, seed !== '' && `seed ${seed}`];
    $('sampling-summary').textContent = parts.filter(Boolean).join(', ');
  };

  const edit = on => {
    editing = on;
    $('editing-last').hidden = !on;
    $('send').textContent = on ? 'Ask again' : 'Send';
    if (!on) question.value = '';
    grow();
  };
  const grow = () => {
    question.style.height = 'auto';
    question.style.height = `${Math.min(question.scrollHeight + 2, 240)}px`;
  };
  const editLast = () => {
    const last = lastQuestion();
    if (last === null) return;
    edit(true);
    question.value = last;
    grow();
    question.focus();
  };
  const submit = () => {
    const text = question.value.trim();
    if (!text) return;
    (editing ? onAgain : onAsk)(text);
    edit(false);
  };

  $('ask').addEventListener('submit', event => {
    event.preventDefault();
    submit();
  });
  $('stop').addEventListener('click', onStop);
  question.addEventListener('input', grow);
  question.addEventListener('keydown', event => {
    if (event.isComposing) return;
    if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      submit();
    } else if (event.key === 'ArrowUp' && question.value === '') {
      event.preventDefault();
      editLast();
    } else if (event.key === 'Escape') {
      editing ? edit(false) : onStop();
    }
  });
  summarize();

  return {
    editLast,
    running: on => ($('stop').hidden = !on),
    settings: () => ({ sampling: samplingOf(kept), system: kept.system, onChange: kept.onChange, colour: kept.colour }),
  };
}

/** The fields of a request; what is left empty is left to the server. */
function samplingOf({ temperature, top_p: topP, max_tokens: most, seed, stop }) {
  const number = (name, text) => (text === '' || !Number.isFinite(Number(text)) ? {} : { [name]: Number(text) });
  // One text on each line; `\n` is a line break, which a line cannot hold.
  const stops = stop
    .split('\n')
    .filter(Boolean)
    .map(text => text.replaceAll('\\n', '\n'));
  return {
    ...number('temperature', temperature),
    ...number('top_p', topP),
    ...number('max_tokens', most),
    ...number('seed', seed),
    ...(stops.length ? { stop: stops } : {}),
  };
}
