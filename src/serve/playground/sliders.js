// The controls of one value: a slider with its number, a bank of faders over layers, a switch.

import { h, s, tidy } from './dom.js';
import { rangeFor } from './setting.js';

/** Height of a fader's travel in pixels, and how far its thumb's centre stays from either end. */
const TRAVEL = 84;
const THUMB = 7;

/**
 * One value: `value` goes in, `onInput(value)` comes out while it moves, `onReset()` gives the value to go back to.
 * `key` is what tests and the focus find it by.
 */
export function slider({ key, name, title, value, control, hue, onInput, onReset }) {
  const number = numberField({ key, label: title, value, control });
  if (control.kind === 'number') {
    number.dataset.slider = key;
    listen([number], control, onInput, onReset);
    return h('div.slider.bare', number);
  }
  const range = rangeField({ key, title, value, control });
  const row = h('div.slider', range, number);
  if (hue) row.style.setProperty('--hue', hue);
  listen([range, number], control, onInput, onReset);
  fillTrack(range);
  return row;
}

/** Values over layers, a fader each; `stops` are `{label, title, value}`, and callbacks are told which. */
export function faders({ key, title, stops, control, hue, onInput, onReset }) {
  const values = stops.map(stop => stop.value);
  const points = s('polyline');
  const curve = s('svg.curve', { 'aria-hidden': 'true', preserveAspectRatio: 'none' }, points);
  const draw = () => {
    const [low, high] = rangeFor(control, values);
    const y = value => THUMB + (1 - (value - low) / (high - low)) * (TRAVEL - 2 * THUMB);
    curve.setAttribute('viewBox', `0 0 ${stops.length} ${TRAVEL}`);
    points.setAttribute('points', values.map((value, i) => `${i + 0.5},${y(value).toFixed(2)}`).join(' '));
  };
  const columns = stops.map((stop, i) => {
    const common = { key: `${key}/${i}`, title: `${title}, ${stop.title}`, value: stop.value, control };
    const range = control.kind === 'slider' ? rangeField({ ...common, values }) : null;
    const number = numberField({ ...common, label: common.title });
    const changed = value => {
      values[i] = value;
      draw();
      onInput(i, value);
    };
    listen([range, number].filter(Boolean), control, changed, () => onReset(i));
    if (range) fillTrack(range);
    return h('div.fader', range, number, h('span.stop', stop.label));
  });
  draw();
  const bank = h('div.faders', { role: 'group', 'aria-label': title }, h('div.bank', curve, columns));
  bank.style.setProperty('--stops', stops.length);
  if (hue) bank.style.setProperty('--hue', hue);
  return bank;
}

/** A switch. */
export function toggle({ key, name, title, value, onInput }) {
  const box = h('input.switch', { type: 'checkbox', 'data-slider': key, 'aria-label': title, checked: value });
  box.addEventListener('change', () => onInput(box.checked));
  return box;
}

function rangeField({ key, title, value, control, values = [value] }) {
  const [min, max] = rangeFor(control, values);
  const hint = `${title}: double-click or Delete puts it back`;
  return h('input', { type: 'range', min, max, step: control.step, value, 'data-slider': key, 'aria-label': title, title: hint });
}

function numberField({ key, label, value, control }) {
  const min = Number.isFinite(control.hard[0]) ? control.hard[0] : null;
  const max = Number.isFinite(control.hard[1]) ? control.hard[1] : null;
  const step = control.step === 1 ? 1 : 'any';
  return h('input', { type: 'number', min, max, step, value: tidy(value), 'data-number': key, 'aria-label': `${label}, as a number` });
}

/** Fields that show one value follow each other; a number beyond the slider's ends stretches it. */
function listen(fields, control, onInput, onReset) {
  const show = (value, source) => {
    for (const field of fields) {
      if (field === source) continue;
      if (field.type === 'range') {
        [field.min, field.max] = rangeFor({ min: Number(field.min), max: Number(field.max) }, [value]);
      }
      field.value = tidy(value);
    }
    fields.filter(field => field.type === 'range').forEach(fillTrack);
  };
  for (const field of fields) {
    field.addEventListener('input', () => {
      const value = Number(field.value);
      if (field.value === '' || !Number.isFinite(value)) return;
      const within = Math.min(Math.max(value, control.hard[0]), control.hard[1]);
      if (within !== value) field.value = within;
      show(within, field);
      onInput(within);
    });
    const reset = () => {
      const value = onReset();
      if (value === null) return;
      show(value, null);
      onInput(value);
    };
    field.addEventListener('dblclick', event => field.type === 'range' && (event.preventDefault(), reset()));
    if (field.type !== 'range') continue;
    field.addEventListener('keydown', event => {
      if (event.key !== 'Delete' && event.key !== 'Backspace') return;
      event.preventDefault();
      reset();
    });
  }
}

/** Paints the track between zero, or the nearest end to it, and the value. */
function fillTrack(range) {
  const [min, max, value] = [range.min, range.max, range.value].map(Number);
  const part = at => (Math.min(Math.max(at, min), max) - min) / (max - min || 1);
  // From the very end the fill takes in the half thumb that the centre never reaches.
  range.style.setProperty('--from', part(Math.min(0, value)) || -1);
  range.style.setProperty('--to', part(Math.max(0, value)));
  // A zero at the end of the track needs no mark; far outside there is none.
  range.style.setProperty('--zero', min < 0 && max > 0 ? part(0) : -9);
}
