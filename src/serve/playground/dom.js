// Builds elements and writes numbers for people; text only ever goes in as text.

const SVG = 'http://www.w3.org/2000/svg';
const PROPERTIES = new Set(['value', 'checked', 'disabled', 'hidden', 'open', 'selected']);

/** An element such as `p.note.small`, with attributes and `on...` listeners if an object follows, and children; `null` and `false` are none. */
export const h = (selector, ...rest) => build(tag => document.createElement(tag), selector, rest);

/** The same for SVG. */
export const s = (selector, ...rest) => build(tag => document.createElementNS(SVG, tag), selector, rest);

function build(create, selector, rest) {
  const [tag, ...classes] = selector.split('.');
  const element = create(tag);
  const plain = rest[0]?.constructor === Object;
  const attributes = plain ? rest[0] : {};
  const children = (plain ? rest.slice(1) : rest).flat();
  if (classes.length) element.classList.add(...classes);
  // `value` goes last: a range keeps it within the limits it has at that moment, and a select needs its options first.
  element.append(...children.filter(child => child !== null && child !== undefined && child !== false));
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || name === 'value') continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (PROPERTIES.has(name)) element[name] = value;
    else if (value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  if (attributes.value !== null && attributes.value !== undefined) element.value = attributes.value;
  return element;
}

/** The element with this id. */
export const $ = id => document.getElementById(id);

/** A button that says what it does. */
export function button(label, onclick, attributes = {}) {
  return h('button', { type: 'button', class: 'quiet', onclick, ...attributes }, label);
}

/** A select of `[value, label]` pairs. */
export function select(options, value, onchange, attributes = {}) {
  const items = options.map(([id, label]) => h('option', { value: id }, label));
  return h('select', { ...attributes, value, onchange: event => onchange(event.target.value) }, items);
}

/** `2.1 ms`, `1.4 s`. */
export function duration(seconds) {
  if (seconds >= 60) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  if (seconds >= 1) return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
  const ms = seconds * 1000;
  return `${ms < 100 ? ms.toFixed(1) : ms.toFixed(0)} ms`;
}

/** `5.2 MB`, in the units that the command line uses. */
export function bytes(count) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) {
    count /= 1000;
    unit += 1;
  }
  return `${unit ? count.toFixed(1) : count} ${units[unit]}`;
}

/** A number short enough for a slider's field; what a search found has more digits, and the recipe keeps them. */
export function tidy(value) {
  return Number(Math.abs(value) < 0.01 ? value.toPrecision(3) : value.toFixed(3));
}

/** A model's name without what all of them share. */
export function shortName(model) {
  return model.replace(/\.gguf$/i, '');
}

/** Gives an element a model's colour, and the ink that reads on it. */
export function tint(element, { hue, ink }) {
  element.style.setProperty('--hue', hue);
  element.style.setProperty('--on-hue', ink);
  return element;
}

/** A model's letter in its colour: the letter says the same as the colour. */
export const badge = style => tint(h('span.badge', { 'aria-hidden': 'true' }, style.letter), style);

/** As much of a fingerprint as tells recipes apart at a glance. */
export const brief = fingerprint => fingerprint.slice(0, 11);

/** Says something to screen readers that others can see. */
export function announce(text) {
  $('live').textContent = text;
}

/** Text into the clipboard, also where the page is not served securely. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h('textarea.hidden-copy', { 'aria-hidden': 'true', value: text });
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
}

/** What the browser remembers of `name`, or `otherwise`; a browser that remembers nothing is no error. */
export function remembered(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(`ggraft.${name}`)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** Lets the browser remember it. */
export function remember(name, value) {
  try {
    localStorage.setItem(`ggraft.${name}`, JSON.stringify(value));
  } catch {
    // A private window may refuse; the page works without.
  }
}
