// One parameter of the recipe with everything that may set it: sliders over slices or layers, and a row for each filter.

import { button, h, shortName } from './dom.js';
import { read, write } from './recipe.js';
import { controlOf, defaultOf, resample, rulesOf, settingOf } from './setting.js';
import { faders, slider, toggle } from './sliders.js';

/** Where a required parameter starts if a recipe lacks it. */
const NEUTRAL = 1;

/**
 * Draws parameter `spec` of `model` (`null`: of all models) at its `places`. Every change goes through `editor`, always on
 * top of the recipe as it is then.
 */
export function parameter({ editor, spec, model, places, layers, hue }) {
  const control = controlOf(spec);
  const key = model ? `${model}/${spec.name}` : spec.name;
  const title = model ? `${shortName(model)} ${spec.name}` : spec.name;
  const rulesAt = place => {
    const rules = rulesOf(read(editor.recipe, place, spec.name) ?? place.inherited);
    return rules.length ? rules : [{ filter: null, values: [NEUTRAL] }];
  };
  const put = (targets, change, gesture = null) => {
    const one = (recipe, place) => write(recipe, place, spec.name, settingOf(change(structuredClone(rulesAt(place)))));
    editor.change(targets.reduce(one, editor.recipe), { gesture });
  };
  const setValue = (place, r, i, value) => {
    const change = rules => rules.with(r, { ...rules[r], values: rules[r].values.with(i, value) });
    put([place], change, `${place.at.join('.')}/${spec.name}/${r}/${i}`);
    mark();
  };
  const resetTo = (place, r, i) => {
    const first = rulesOf(read(editor.initial, place, spec.name))[r];
    const value = first && (first.values[i] ?? resample(first.values, 1)[0]);
    return value ?? defaultOf(spec) ?? NEUTRAL;
  };

  const one = (place, r, name) => {
    const rule = rulesAt(place)[r];
    if (control.kind === 'toggle') {
      const box = (value, i) =>
        toggle({
          key: rule.values.length > 1 ? `${name}/${i}` : name,
          title,
          value: Boolean(value),
          onInput: on => setValue(place, r, i, on),
        });
      return h('div.switches', rule.values.map(box));
    }
    if (rule.values.length === 1) {
      const reset = () => resetTo(place, r, 0);
      return slider({ key: name, title, value: rule.values[0], control, hue, onInput: v => setValue(place, r, 0, v), onReset: reset });
    }
    const stops = rule.values.map((value, i) => ({ value, ...anchor(i, rule.values.length, layers) }));
    return faders({
      key: name,
      title,
      stops,
      control,
      hue,
      onInput: (i, v) => setValue(place, r, i, v),
      onReset: i => resetTo(place, r, i),
    });
  };
  const across = (r, name) => {
    const stops = places.map((place, i) => ({
      value: rulesAt(place)[r].values[0],
      label: place.label || `${i}`,
      title: `layers ${place.label}`,
    }));
    const set = (i, value) => setValue(places[i], r, 0, value);
    return faders({ key: name, title, stops, control, hue, onInput: set, onReset: i => resetTo(places[i], r, 0) });
  };

  const sets = places.map(rulesAt);
  const alike = rules => rules.every((rule, r) => rule.values.length === 1 && rule.filter === sets[0][r]?.filter);
  const together = places.length > 1 && control.kind !== 'toggle' && sets.every(rules => rules.length === sets[0].length && alike(rules));
  const groups = together
    ? [{ targets: places, draw: across }]
    : places.map(place => ({ targets: [place], draw: (r, name) => one(place, r, name) }));

  const body = groups.map(({ targets, draw }, g) => {
    const rules = rulesAt(targets[0]);
    const named = rules.length > 1 || rules[0].filter !== null;
    const suffix = places.length > 1 && !together ? `/${g}` : '';
    const rows = rules.map((rule, r) => {
      const control = draw(r, named ? `${key}${suffix}/${rule.filter ?? '*'}` : `${key}${suffix}`);
      if (!named) return control;
      return h(
        'div.rule',
        filterField(rule, title, r, change => put(targets, change)),
        control,
      );
    });
    const heading = suffix && h('span.place', targets[0].label ? `layers ${targets[0].label}` : `slice ${g}`);
    return h('div.rules', heading, rows);
  });

  const addFilter = rules => {
    const { values } = rules.at(-1);
    const rest = rules.at(-1).filter === null ? [] : [{ filter: null, values }];
    return [{ filter: freeFilter(rules), values }, ...rules, ...rest];
  };
  const label = h('span.parameter-name', { title: spec.doc }, spec.name);
  const more =
    control.kind !== 'toggle' &&
    button('+', () => put(places, addFilter), {
      class: 'quiet small',
      title: `a filter: another ${spec.name} for some tensors`,
      'aria-label': `add a filter to ${title}`,
      'data-testid': `add-filter-${key}`,
    });
  const section = h(`div.parameter.of-${control.kind}`, { 'data-parameter': key }, h('div.parameter-head', label, more), body);
  const mark = () =>
    section.classList.toggle(
      'inherited',
      places.every(place => read(editor.recipe, place, spec.name) === undefined),
    );
  mark();
  return section;
}

function filterField(rule, title, r, edit) {
  const rename = event => edit(rules => rules.with(r, { ...rules[r], filter: event.target.value || '*' }));
  const drop = () => edit(rules => (rules.length > 1 ? rules.toSpliced(r, 1) : [{ ...rules[r], filter: null }]));
  if (rule.filter === null) return h('span.filter.rest', 'everything else');
  const field = h('input', {
    type: 'text',
    value: rule.filter,
    list: 'filters',
    'aria-label': `${title}, for tensors whose name has`,
    onchange: rename,
  });
  return h('span.filter', field, button('×', drop, { class: 'quiet icon', 'aria-label': `remove the filter ${rule.filter}` }));
}

const FILTERS = ['self_attn', 'mlp', 'norm', 'embed_tokens', 'down_proj', 'o_proj', 'lm_head'];

function freeFilter(rules) {
  return FILTERS.find(name => !rules.some(rule => rule.filter === name)) ?? 'layers.0.';
}

/** Which layer an anchor of a gradient stands at. */
function anchor(i, count, layers) {
  const at = layers > 1 ? (i * (layers - 1)) / (count - 1) : i;
  const label = Number.isInteger(at) ? `${at}` : at.toFixed(1);
  return { label, title: `layer ${label}` };
}
