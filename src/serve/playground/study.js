// A study's candidates as points and as a list, each of which can be tried, and its report.

import * as api from './api.js';
import { button, duration, h, s } from './dom.js';

const WIDTH = 860;
const HEIGHT = 260;
const EDGE = { left: 46, right: 14, top: 14, bottom: 34 };
const TOP = 5;

/** The candidates worth a shortcut: the best recipe and the best scores. */
export function best(study) {
  const top = scored(study)
    .toSorted((a, b) => b.score - a.score)
    .slice(0, TOP);
  const first = study.best ? [{ id: 'best', label: 'best recipe' }] : [];
  return [...first, ...top.map(({ id, value }) => ({ id, label: `candidate ${id}, ${value.toFixed(3)}` }))];
}

const scored = study => study.candidates.filter(candidate => Number.isFinite(candidate.value));

/** Draws `study` into `host`. `onLoad(id)` puts a candidate's recipe into the panel, `onBeside(id)` opens it in a second column. */
export function studyView(host, study, { onLoad, onBeside }) {
  const candidates = scored(study);
  let sorted = candidates;
  let chosen = null;
  const rows = new Map();
  const dots = new Map();

  const choose = (candidate, focus) => {
    for (const [mark, on] of [
      [chosen, false],
      [candidate, true],
    ]) {
      if (!mark) continue;
      dots.get(mark.id)?.classList.toggle('chosen', on);
      rows.get(mark.id)?.setAttribute('aria-selected', String(on));
      if (rows.get(mark.id)) rows.get(mark.id).tabIndex = on ? 0 : -1;
    }
    chosen = candidate;
    // The chosen dot is drawn last, above its neighbours.
    dots.get(candidate.id)?.parentNode.append(dots.get(candidate.id));
    const row = rows.get(candidate.id);
    row.scrollIntoView({ block: 'nearest' });
    if (focus) row.focus();
    choice.replaceChildren(
      h('strong', `Candidate ${candidate.id}`),
      h('span.num', `${study.measure} ${candidate.value.toFixed(4)}`),
      h('span.muted.num', `swapped in ${duration(candidate.swap_seconds ?? 0)}`),
      button('Load into the recipe', () => onLoad(candidate.id), { 'data-testid': 'study-load' }),
      button('Talk to it beside', () => onBeside(candidate.id), { 'data-testid': 'study-beside' }),
    );
  };

  const choice = h(
    'div.choice.row',
    { 'aria-live': 'polite' },
    h('span.muted', 'Choose a candidate: click a point or a row; Enter loads it.'),
  );
  const list = h('ul.candidates', { role: 'listbox', 'aria-label': 'candidates' });
  const fillList = () => {
    list.replaceChildren(...sorted.map(candidate => rows.get(candidate.id)));
  };
  for (const candidate of candidates) {
    const cells = [candidate.id, candidate.stage, candidate.value.toFixed(4), duration(candidate.swap_seconds ?? 0)];
    const row = h(
      'li',
      { role: 'option', tabindex: -1, 'aria-selected': 'false', 'data-candidate': candidate.id },
      cells.map(text => h('span', `${text ?? ''}`)),
    );
    row.addEventListener('click', () => choose(candidate, true));
    row.addEventListener('dblclick', () => onLoad(candidate.id));
    rows.set(candidate.id, row);
  }
  list.addEventListener('keydown', event => {
    const at = sorted.indexOf(chosen);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: sorted.length - 1, PageDown: at + 10, PageUp: at - 10 }[event.key];
    if (event.key === 'Enter') onLoad(chosen.id);
    else if (to === undefined) return;
    else choose(sorted[Math.max(0, Math.min(to, sorted.length - 1))], true);
    event.preventDefault();
  });
  if (candidates.length) rows.get(candidates[0].id).tabIndex = 0;
  list.addEventListener('focusin', event => {
    if (chosen === null) choose(candidates.find(candidate => rows.get(candidate.id) === event.target) ?? candidates[0], false);
  });

  const order = h(
    'select',
    { 'aria-label': 'order of the list' },
    h('option', { value: 'evaluation' }, 'in order of the search'),
    h('option', { value: 'score' }, 'best first'),
  );
  order.addEventListener('change', () => {
    sorted = order.value === 'score' ? candidates.toSorted((a, b) => b.score - a.score) : candidates;
    fillList();
  });
  fillList();

  const heads = h(
    'div.candidate-heads',
    { 'aria-hidden': 'true' },
    ['candidate', 'stage', study.measure, 'swap'].map(text => h('span', text)),
  );
  host.replaceChildren(
    h('header.study-head', h('h2', study.name), h('span.muted.num', `${candidates.length} candidates`)),
    study.best
      ? h(
          'div.row',
          h('span', 'The best recipe: '),
          button('Load into the recipe', () => onLoad('best'), { 'data-testid': 'best-load' }),
          button('Talk to it beside', () => onBeside('best'), { 'data-testid': 'best-beside' }),
        )
      : '',
    tested(study),
    scatter(study, candidates, dots, candidate => choose(candidate, true)),
    h('div.choosing', choice, order),
    heads,
    list,
    study.report ? report() : '',
  );
}

/** What the study measured on questions it never searched on. */
function tested(study) {
  if (!study.tested?.length) return '';
  // Shares are shown between 0 and 1, other values between their ends.
  const ends = study.tested.flatMap(({ ci95 }) => ci95);
  const shares = ends.every(end => end >= 0 && end <= 1);
  const [from, to] = shares ? [0, 1] : [Math.min(...ends), Math.max(...ends)];
  const place = value => (100 * (value - from)) / (to - from || 1);
  const rows = study.tested.map(({ name, score, ci95: [low, high] }) =>
    h(
      'tr',
      h('th', { scope: 'row' }, name),
      h('td.num', score.toFixed(3)),
      h('td.num.muted', `${low.toFixed(3)} – ${high.toFixed(3)}`),
      h('td.interval', interval(place(score), place(low), place(high))),
    ),
  );
  const heads = ['on questions the search never saw', study.measure, '95 % interval'].map((text, i) =>
    h(i ? 'th.num' : 'th', { scope: 'col' }, text),
  );
  return h('table.tested', h('thead', h('tr', heads, h('td'))), h('tbody', rows));
}

function interval(middle, low, high) {
  const picture = s('svg', { viewBox: '0 0 100 10', preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  picture.append(
    s('line', { x1: 0, x2: 100, y1: 5, y2: 5 }),
    s('line.range', { x1: low, x2: high, y1: 5, y2: 5 }),
    s('line.middle', { x1: middle, x2: middle, y1: 0, y2: 10 }),
  );
  return picture;
}

function scatter(study, candidates, dots, onChoose) {
  if (!candidates.length) return h('p.muted', 'No candidate has a score yet.');
  const values = candidates.map(candidate => candidate.value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = (high - low || 1) * 0.06;
  const last = Math.max(candidates.length - 1, 1);
  const x = i => EDGE.left + (i / last) * (WIDTH - EDGE.left - EDGE.right);
  // Better is further up, whatever that is.
  const up = value => (study.lower_is_better ? high - value : value - low);
  const y = value => HEIGHT - EDGE.bottom - ((up(value) + room) / (high - low + 2 * room || 1)) * (HEIGHT - EDGE.top - EDGE.bottom);
  const grid = ticks(low, high).map(tick =>
    s(
      'g.tick',
      s('line', { x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y(tick), y2: y(tick) }),
      s('text', { x: EDGE.left - 8, y: y(tick) + 4, 'text-anchor': 'end' }, `${Number(tick.toFixed(6))}`),
    ),
  );
  let top = candidates[0];
  const steps = candidates.map((candidate, i) => {
    if (candidate.score > top.score) top = candidate;
    return `${i ? 'H' : 'M'}${x(i).toFixed(1)}${i ? '' : `,${y(candidate.value).toFixed(1)}`}V${y(top.value).toFixed(1)}`;
  });
  const marks = candidates.map((candidate, i) => {
    const about = `candidate ${candidate.id}, ${study.measure} ${candidate.value.toFixed(4)}`;
    const dot = s(
      `circle.dot.stage-${candidate.stage ?? 0}`,
      { cx: x(i).toFixed(1), cy: y(candidate.value).toFixed(1), r: 4, onclick: () => onChoose(candidate) },
      s('title', about),
    );
    dots.set(candidate.id, dot);
    return dot;
  });
  const names = [
    s('text', { x: (WIDTH + EDGE.left) / 2, y: HEIGHT - 6, 'text-anchor': 'middle' }, 'candidate, in order of the search'),
    s(
      'text',
      { x: 0, y: 0, 'text-anchor': 'middle', transform: `translate(11 ${(HEIGHT - EDGE.bottom) / 2}) rotate(-90)` },
      `search ${study.measure}`,
    ),
  ];
  // The list beside says the same to those who do not see the picture.
  return s(
    'svg.scatter',
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, 'aria-hidden': 'true' },
    grid,
    s('path.best-so-far', { d: steps.join('') }),
    names,
    s('g', marks),
  );
}

/** Round numbers from `low` to `high`, some four of them. */
function ticks(low, high) {
  const rough = (high - low || 1) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(factor => factor * power).find(size => size >= rough);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
}

/** A frame carries no key, so that with one the report comes through here; either way it may run nothing. */
function report() {
  const frame = h('iframe.report', { title: 'the study’s report', sandbox: '', loading: 'lazy' });
  const fold = h('details.fold', { 'data-testid': 'study-report' }, h('summary', 'Report'), frame);
  fold.addEventListener('toggle', async () => {
    if (!fold.open || frame.hasAttribute('src') || frame.hasAttribute('srcdoc')) return;
    if (api.hasKey()) frame.srcdoc = await api.report();
    else frame.src = 'study/report';
  });
  return fold;
}
