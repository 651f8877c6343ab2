// The recipe panel: presets, method, models with their sliders, path and YAML of the recipe that is being edited.

import { $, announce, badge, brief, button, bytes, copy, duration, h, s, select, shortName } from './dom.js';
import { parameter } from './parameters.js';
import { pathSection } from './path.js';
import * as recipes from './recipe.js';
import { hasEffect } from './setting.js';

const GROUPS = [1, 2, 4, 8];
/** Screen readers hear of a swap when the slider has come to rest. */
const REST = 700;
/** Only a merge that takes longer is spoken of before it is done. */
const LONG = 200;
/** Seconds of waiting for answers that are worth a word. */
const NOTABLE = 0.1;

/**
 * The panel. `server` is the answer of `GET /v1/recipes` with `style(model)`, `countOf(model)` and `methodOf(name)`; `actions` are what
 * reaches beyond one recipe: `duplicate(id)`, `remove(id)`, `candidate(id)`, and `shortcuts()`, the study's best. Gives `show(editor)`.
 */
export function panel(server, actions) {
  const body = $('panel-body');
  const opened = new Set();
  let editor = null;
  let notes = [];
  let speaking = 0;
  let waiting = 0;
  const listeners = { edited: event => event.detail.redraw && draw(), status: () => drawStatus() };

  function show(next) {
    for (const [type, listener] of Object.entries(listeners)) {
      editor?.removeEventListener(type, listener);
      next.addEventListener(type, listener);
    }
    editor = next;
    notes = [];
    draw();
    drawStatus();
  }

  const change = (recipe, said = []) => {
    notes = said;
    editor.change(recipe);
  };

  function drawStatus() {
    const { info, swap, swaps, error, lacking, busy } = editor;
    $('panel-name').textContent = info.id;
    $('panel-fingerprint').textContent = brief(info.fingerprint);
    $('panel-fingerprint').title = `fingerprint ${info.fingerprint}`;
    $('undo').disabled = !editor.canUndo;
    $('redo').disabled = !editor.canRedo;
    $('delete-recipe').hidden = !info.created_here;
    clearTimeout(waiting);
    if (busy) waiting = setTimeout(() => $('swap-time').replaceChildren('merging…'), LONG);
    else $('swap-time').replaceChildren(...(swap ? swapText(swap).map(strong) : ['Move a slider: the merge happens in place.']));
    $('sparkline').replaceChildren(sparkline(swaps));
    const problem = lacking ?? error;
    $('panel-error').textContent = problem ?? '';
    $('panel-error').hidden = !problem;
    $('panel-notes').replaceChildren(...[...notes, ...(info.warnings ?? [])].map(text => h('li', text)));
    if (!$('yaml').dataset.dirty) $('yaml').value = info.yaml;
    clearTimeout(speaking);
    if (swap && !busy) speaking = setTimeout(() => announce(problem ?? swapText(swap).join('')), REST);
  }

  function draw() {
    const focus = focused();
    const scroll = body.scrollTop;
    const { recipe, method } = editor;
    body.replaceChildren(...(editor.readOnly ? fileNote() : [presets(), methodSection(recipe, method), ...models(recipe, method), path()]));
    body.scrollTop = scroll;
    if (focus && !body.contains(document.activeElement)) body.querySelector(focus)?.focus({ preventScroll: true });
  }

  /** How to find what has the focus after everything is drawn anew. */
  function focused() {
    const at = document.activeElement;
    if (!body.contains(at)) return null;
    for (const name of ['data-slider', 'data-number', 'data-spare', 'data-testid', 'id']) {
      const value = at.getAttribute(name);
      if (value) return `[${name}="${CSS.escape(value)}"]`;
    }
    return null;
  }

  const fileNote = () => [
    h('p.note', 'A file is served as it is. A copy of it is a recipe, and can be changed.'),
    button('Duplicate as a recipe', () => actions.duplicate(editor.id), { 'data-testid': 'duplicate-file' }),
  ];

  function presets() {
    const { initial } = editor;
    const out = [
      button('As started', () => change(structuredClone(initial)), {
        'data-testid': 'preset-start',
        title: 'the recipe as it was when this page met it',
      }),
    ];
    for (const model of recipes.allModels(initial)) {
      const style = server.style(model);
      const one = button([badge(style), style.brief], () => change(recipes.alone(editor.recipe, model)), {
        'data-testid': `preset-${model}`,
        title: `${model} alone`,
      });
      out.push(one);
    }
    const average = recipes.uniformModels(initial);
    if (average.length > 1)
      out.push(
        button('Uniform', () => change(recipes.uniform(editor.recipe, average)), {
          'data-testid': 'preset-uniform',
          title: `plain average of ${average.join(', ')}`,
        }),
      );
    const shortcuts = actions.shortcuts();
    if (shortcuts.length) {
      const options = [['', 'From the study…'], ...shortcuts.map(({ id, label }) => [id, label])];
      out.push(
        select(options, '', id => id && actions.candidate(id), { 'aria-label': 'recipes of the study', 'data-testid': 'preset-study' }),
      );
    }
    return h('section.part.presets', { 'aria-label': 'presets' }, out);
  }

  function methodSection(recipe, method) {
    const choose = name => {
      const { recipe: next, notes: said } = recipes.withMethod(editor.recipe, server.methodOf(name), editor.lastBase);
      change(next, said);
    };
    const names = server.methods.map(({ name }) => [name, name]);
    if (!method) names.unshift(['', 'none: only a path']);
    const kind = select(names, method?.name ?? '', choose, { id: 'method' });
    const link = method?.reference && h('a', { href: method.reference, target: '_blank', rel: 'noreferrer noopener' }, 'reference');
    const about = method && h('p.muted.summary', `${method.summary}. `, link);
    const parents = server.parents.map(({ name }) => [name, name]);
    const wanted = method?.base === 'required' && !recipe.base_model;
    const setBase = name => change(name ? recipes.withBase(editor.recipe, name) : omit(editor.recipe, 'base_model'));
    const base = select([['', method?.base === 'required' ? 'choose…' : 'none'], ...parents], recipe.base_model ?? '', setBase, {
      id: 'base-model',
      'aria-invalid': wanted ? 'true' : null,
    });
    const type = select(
      server.out_types.map(name => [name, name]),
      recipe.out_type ?? server.out_types[0],
      name => change({ ...editor.recipe, out_type: name }),
      { id: 'out-type' },
    );
    const needsBase = method?.base !== 'ignored' || recipe.base_model;
    return h(
      'section.part',
      { 'aria-label': 'method' },
      h('div.fields', field('method', kind), needsBase ? field('base model', base) : null, field('type', type)),
      about,
    );
  }

  function models(recipe, method) {
    if (!method) return [];
    const used = new Set(recipes.mergedModels(recipe));
    const layers = recipes.mergedBlocks(recipe, server.countOf);
    const own = method.parameters.filter(spec => spec.per_model);
    const said = (places, spec) => places.some(place => recipes.read(recipe, place, spec.name) !== undefined);
    const cards = [...used].map(model => {
      const style = server.style(model);
      const rows = own.map(spec => {
        const places = recipes.modelPlaces(recipe, model, spec, method);
        if (!places.length || !(hasEffect(spec) || said(places, spec))) return null;
        return parameter({ editor, spec, model, places, layers, hue: style.hue });
      });
      const tag = recipes.isBase(recipe, model, method) && h('span.tag', 'base');
      const drop = button('×', () => change(recipes.withoutModel(editor.recipe, model)), {
        class: 'quiet icon',
        'aria-label': `remove ${model}`,
        'data-testid': `remove-${model}`,
      });
      return h(
        'div.card',
        { 'data-model': model },
        h('div.card-head', badge(style), h('span.card-name', { title: model }, shortName(model)), tag, drop),
        rows.filter(Boolean),
      );
    });
    const full = method.max_models !== null && used.size >= method.max_models;
    const spare = full ? [] : server.parents.filter(({ name }) => !used.has(name)).map(({ name }) => [name, name]);
    const add = spare.length
      ? select([['', 'add a parent…'], ...spare], '', model => model && change(recipes.withModel(editor.recipe, model, method)), {
          id: 'add-model',
          'aria-label': 'add a parent',
        })
      : null;
    const order = [...method.parameters].sort((a, b) => (a.kind === 'bool') - (b.kind === 'bool'));
    const shared = order.map(spec => {
      const places = recipes.sharedPlaces(recipe, spec);
      const wanted = spec.per_model ? said(places, spec) : hasEffect(spec) || said(places, spec);
      return wanted ? parameter({ editor, spec, model: null, places, layers, hue: null }) : null;
    });
    const title = recipe.slices ? `${recipe.slices.length} slices, ${layers} blocks` : null;
    return [
      h(
        'section.part.models',
        { 'aria-label': 'models' },
        h('div.part-head', h('h3', 'Models'), title ? h('span.muted.num', title) : groups(recipe, method, layers)),
        cards,
        add,
      ),
      shared.some(Boolean) ? h('section.part', { 'aria-label': 'for all models' }, h('h3', 'For all models'), shared.filter(Boolean)) : '',
    ];
  }

  function groups(recipe, method, layers) {
    const now = recipes.groupsOf(recipe, method);
    const options = GROUPS.filter(count => count <= Math.max(layers, 1));
    if (options.length < 2 || !method.parameters.some(spec => spec.per_model)) return '';
    const choices = options.map(count => {
      const radio = h('input', {
        type: 'radio',
        name: 'groups',
        value: count,
        checked: count === now,
        'data-testid': `groups-${count}`,
        onchange: () => change(recipes.withGroups(editor.recipe, count, method)),
      });
      return h('label', radio, h('span', `${count}`));
    });
    return h(
      'fieldset.segments',
      { title: 'in how many places over the layers each value is set; between them it goes evenly' },
      h('legend', now === null ? 'layer groups (differ)' : 'layer groups'),
      choices,
    );
  }

  function path() {
    const parents = server.parents.map(({ name }) => name);
    const content = pathSection({ editor, parents, countOf: server.countOf, style: server.style, scales: server.path_scales });
    return h('section.part', { 'aria-label': 'path' }, content);
  }

  $('undo').addEventListener('click', () => editor.undo());
  $('redo').addEventListener('click', () => editor.redo());
  $('duplicate').addEventListener('click', () => actions.duplicate(editor.id));
  $('delete-recipe').addEventListener('click', () => actions.remove(editor.id));
  $('copy-yaml').addEventListener('click', async () => {
    await copy(editor.info.yaml);
    flash($('copy-yaml'), 'Copied');
  });
  $('yaml').addEventListener('input', () => edited(true));
  $('yaml-revert').addEventListener('click', () => {
    edited(false);
    drawStatus();
  });
  $('yaml-apply').addEventListener('click', async () => {
    if (await editor.applyYaml($('yaml').value)) edited(false);
    drawStatus();
  });
  const edited = on => {
    if (on) $('yaml').dataset.dirty = 'yes';
    else delete $('yaml').dataset.dirty;
    $('yaml-apply').disabled = $('yaml-revert').disabled = !on;
  };

  return { show };
}

const omit = (recipe, key) => Object.fromEntries(Object.entries(recipe).filter(([name]) => name !== key));

const field = (name, control) => h('label.field', h('span', name), control);

/** What a swap took, in parts, the time itself the second. */
function swapText({ seconds, merge_seconds: merge, waited_seconds: waited, bytes_written: written, reloaded }) {
  const parts = written
    ? ['merged in ', duration(merge || seconds), `, ${bytes(written)} written`]
    : ['swapped in ', duration(seconds), ', no weight moved'];
  if (reloaded) parts.push(`; loaded anew, ${duration(seconds)}`);
  if (waited >= NOTABLE) parts.push(`; waited ${duration(waited)} for answers`);
  return parts;
}

const strong = (text, i) => (i === 1 ? h('strong', text) : text);

/** The milliseconds of the last swaps as bars. */
function sparkline(seconds) {
  if (seconds.length < 2) return '';
  const most = Math.max(...seconds);
  const bars = seconds.map((time, i) =>
    s('rect', { x: i * 3, width: 2, y: 18 - Math.max(1, (18 * time) / most), height: Math.max(1, (18 * time) / most) }),
  );
  return s(
    'svg',
    {
      viewBox: `0 0 ${seconds.length * 3} 18`,
      width: seconds.length * 3,
      height: 18,
      role: 'img',
      'aria-label': `the last ${seconds.length} swaps took up to ${duration(most)}`,
    },
    s('title', `the last ${seconds.length} swaps, up to ${duration(most)}`),
    bars,
  );
}

function flash(element, text) {
  const before = element.textContent;
  element.textContent = text;
  announce(text);
  setTimeout(() => (element.textContent = before), 1200);
}
