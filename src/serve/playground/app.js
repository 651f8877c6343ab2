// Starts the page: what is served, which recipe stands in which column, which one the panel edits.

import * as api from './api.js';
import { Column } from './chat.js';
import { composer } from './composer.js';
import { $, announce } from './dom.js';
import { Editor } from './editor.js';
import { panel } from './panel.js';
import { best, studyView } from './study.js';

/** One for each model, distinct also for the colour-blind (Okabe and Ito), as in reports of studies. */
const HUES = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9'];
const OTHER = '#767676';
/** Which of them are too dark for black letters. */
const DARK = new Set([HUES[0], OTHER]);

const editors = new Map();
const columns = [];
let server = null;
let study = null;
let selected = null;
let recipePanel = null;

/** What the server has, with what the page adds: a letter and a colour for each parent. */
function describe(answer) {
  const places = new Map(answer.parents.map(({ name }, i) => [name, i]));
  const shared = sharedEnding(answer.parents.map(({ name }) => name));
  const style = model => {
    const place = model === null ? null : places.get(model);
    const hue = HUES[place] ?? OTHER;
    const letter = model === null ? 'M' : ('ABCDEFGHIJKL'[place] ?? '·');
    return { letter, hue, ink: DARK.has(hue) ? '#fff' : '#000', name: model ?? 'the merge', brief: model?.slice(0, model.length - shared) };
  };
  const countOf = model => answer.parents[places.get(model)]?.block_count ?? 0;
  const methodOf = name => answer.methods.find(method => method.name === name);
  return { ...answer, style, countOf, methodOf };
}

/** How many characters all names end in alike, from a separator on: `-Q8_0.gguf` tells no parent from another. */
function sharedEnding(names) {
  const [first = '', ...others] = names;
  const endings = [...first.matchAll(/[-._]/g)].map(({ index }) => first.slice(index));
  const alike = ending => others.length && names.every(name => name.endsWith(ending) && name !== ending);
  return (endings.find(alike) ?? '.gguf').length;
}

async function editorFor(id) {
  if (!editors.has(id))
    editors.set(
      id,
      api.getRecipe(id).then(info => new Editor(info, server.methodOf)),
    );
  return editors.get(id).catch(error => {
    editors.delete(id);
    throw error;
  });
}

async function offer() {
  const { data } = await api.recipes();
  server.data = data;
  columns.forEach(column => column.offer(data));
}

function addColumn(name) {
  const column = new Column({
    name,
    settings: () => composing.settings(),
    onPick: id => attempt(() => bind(column, id)),
    onSelect: () => select(column),
    onEdit: () => composing.editLast(),
    onRunning: () => composing.running(columns.some(one => one.running)),
  });
  column.offer(server.data);
  columns.push(column);
  $('columns').append(column.element);
  return column;
}

async function bind(column, id) {
  const editor = await editorFor(id);
  column.bind(editor);
  if (column === selected) recipePanel.show(editor);
}

function select(column) {
  selected = column;
  for (const one of columns) {
    one.element.classList.toggle('selected', one === column);
    one.editing.setAttribute('aria-pressed', String(one === column));
  }
  recipePanel.show(column.editor);
}

/** A second column, with the recipe of this id. */
async function beside(id) {
  const other = columns[1] ?? addColumn('right');
  await bind(other, id);
  mark();
  select(other);
  if (other.lastQuestion === null && columns[0].lastQuestion !== null) other.follow(columns[0]);
}

function alone() {
  columns.splice(1).forEach(column => column.close());
  mark();
  select(columns[0]);
}

function mark() {
  const two = columns.length > 1;
  $('columns').classList.toggle('two', two);
  $('side-by-side').setAttribute('aria-pressed', String(two));
}

/** A copy of this recipe under a name of its own; gives the name. */
async function duplicate(id) {
  const { recipe } = await editorFor(id);
  const taken = new Set(server.data.map(one => one.id));
  let name = `${id}-copy`;
  for (let i = 2; taken.has(name); i += 1) name = `${id}-copy-${i}`;
  await api.putRecipe(name, recipe);
  await offer();
  announce(`${name} is served`);
  return name;
}

async function remove(id) {
  await api.deleteRecipe(id);
  editors.delete(id);
  await offer();
  for (const column of [...columns]) {
    if (column.editor.id !== id) continue;
    if (column === columns[1]) alone();
    else await bind(column, server.data[0].id);
  }
}

/** A study's candidate into the recipe that the panel edits. */
async function load(id) {
  const { recipe } = await api.candidate(id);
  if (selected.editor.readOnly) await bind(selected, await duplicate(selected.editor.id));
  selected.editor.change(recipe);
  announce(`candidate ${id} loaded`);
}

async function candidateBeside(id) {
  const { recipe } = await api.candidate(id);
  const name = `candidate-${id}`;
  const known = server.data.some(one => one.id === name);
  if (known) (await editorFor(name)).change(recipe);
  else await api.putRecipe(name, recipe);
  await offer();
  show('chat');
  await beside(name);
}

function show(view) {
  for (const name of ['chat', 'study']) {
    $(name).hidden = name !== view;
    $(`tab-${name}`).setAttribute('aria-selected', String(name === view));
    $(`tab-${name}`).tabIndex = name === view ? 0 : -1;
  }
  if (view === 'study') attempt(loadStudy);
}

/** What goes wrong outside of recipe and chat stands at the foot of the page. */
async function attempt(action) {
  try {
    $('page-error').hidden = true;
    return await action();
  } catch (error) {
    $('page-error').textContent = error.message;
    $('page-error').hidden = false;
    return null;
  }
}

const composing = composer({
  onAsk: question => columns.forEach(column => column.ask(question)),
  onAgain: question => columns.forEach(column => column.again(question)),
  onStop: () => columns.forEach(column => column.stop()),
  lastQuestion: () => columns[0]?.lastQuestion ?? null,
});

/** The study as it is now: a search may still be running. */
async function loadStudy() {
  if (!server.study) return;
  const before = JSON.stringify(study);
  study = await api.study();
  if (JSON.stringify(study) === before) return;
  $('tabs').hidden = false;
  studyView($('study'), study, { onLoad: id => attempt(() => load(id)), onBeside: id => attempt(() => candidateBeside(id)) });
}

function wire() {
  $('side-by-side').addEventListener('click', () =>
    attempt(async () => {
      if (columns.length > 1) return alone();
      const first = columns[0].editor.id;
      const other = server.data.find(({ id }) => id !== first)?.id;
      await beside(other ?? (await duplicate(first)));
    }),
  );
  $('clear').addEventListener('click', () => {
    columns.forEach(column => column.clear());
    composing.running(false);
    $('question').focus();
  });
  $('keys').addEventListener('click', () => $('keys-dialog').showModal());
  for (const view of ['chat', 'study']) $(`tab-${view}`).addEventListener('click', () => show(view));
  $('tabs').addEventListener('keydown', event => {
    if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
    const view = $('study').hidden ? 'study' : 'chat';
    show(view);
    $(`tab-${view}`).focus();
  });
  addEventListener('keydown', event => {
    if (event.key === 'Escape' && event.target !== $('question') && !document.querySelector('dialog[open]')) {
      columns.forEach(column => column.stop());
    }
    if (!(event.ctrlKey || event.metaKey) || event.altKey || event.key.toLowerCase() !== 'z') return;
    // Text has an undo of its own.
    if (event.target.matches?.('textarea, input[type="text"], input[type="password"]')) return;
    event.preventDefault();
    event.shiftKey ? selected?.editor.redo() : selected?.editor.undo();
  });
}

function askKey(refused) {
  const dialog = $('key-dialog');
  $('key-text').textContent = refused
    ? 'That key is not this server’s. Try another.'
    : 'This server answers only with its key. It is kept until this tab is closed.';
  $('key').value = '';
  dialog.returnValue = 'cancel';
  dialog.showModal();
  return new Promise(resolve => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'ok' && $('key').value ? $('key').value : null), { once: true });
  });
}

async function start() {
  api.onKeyNeeded(askKey);
  wire();
  server = describe(await api.recipes());
  const first = server.data.find(({ kind }) => kind === 'recipe') ?? server.data[0];
  await loadStudy();
  recipePanel = panel(server, {
    duplicate: id => attempt(async () => bind(selected, await duplicate(id))),
    remove: id => attempt(() => remove(id)),
    candidate: id => attempt(() => load(id)),
    shortcuts: () => (study ? best(study) : []),
  });
  const column = addColumn('left');
  await bind(column, first.id);
  select(column);
  $('question').focus();
  document.body.dataset.ready = 'yes';
}

attempt(start);
