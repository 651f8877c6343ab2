// What can be done to a recipe as a whole: methods, models, presets, layer groups. Pure functions from recipe to recipe.
//
// A recipe is the JSON of `GET /v1/recipes/{id}`, in either of mergekit's forms. A *slot* is what holds sources: the recipe itself
// in the `models` form, each slice in the other. A *place* is where one `parameters` map may stand.

import { defaultOf, hasEffect, resample, rulesOf, settingOf } from './setting.js';

const START = { weight: 1, t: 0.5 };

/** What holds sources: one slot for `models`, one for each slice; none if there is only a path. */
export function slots(recipe) {
  if (recipe.slices) return recipe.slices.map((slice, index) => ({ sources: slice.sources, at: ['slices', index, 'sources'] }));
  return recipe.models ? [{ sources: recipe.models, at: ['models'] }] : [];
}

/** The base model of a slot. */
const baseOf = (recipe, index) => recipe.slices?.[index]?.base_model ?? recipe.base_model ?? null;

/** Every model that the merge names, in its order, the base last if it is not listed. */
export function mergedModels(recipe) {
  const names = slots(recipe).flatMap(slot => slot.sources.map(source => source.model));
  return [...new Set([...names, ...(recipe.base_model ? [recipe.base_model] : [])])];
}

/** Every model of the recipe, those of its path included. */
export function allModels(recipe) {
  return [...new Set([...mergedModels(recipe), ...(recipe.path ?? []).map(hop => hop.model).filter(Boolean)])];
}

/** Whether `model` is what others are taken relative to in this slot, so that it has no parameters of its own there. */
const isBaseAt = (recipe, index, model, method) => method?.base !== 'ignored' && baseOf(recipe, index) === model;

/** The same for any slot. */
export function isBase(recipe, model, method) {
  return slots(recipe).some((_, index) => isBaseAt(recipe, index, model, method));
}

/** How many blocks the merge has, without the path. */
export function mergedBlocks(recipe, countOf) {
  const length = ({ layer_range: range, model }) => (range ? range[1] - range[0] : countOf(model));
  return slots(recipe).reduce((sum, slot) => sum + (slot.sources[0] ? length(slot.sources[0]) : 0), 0);
}

/** What `place` says of parameter `name`. */
export function read(recipe, place, name) {
  return place.at.reduce((node, key) => node?.[key], recipe)?.[name];
}

/** The recipe with that said; `undefined` says nothing. */
export function write(recipe, place, name, setting) {
  const next = structuredClone(recipe);
  const holder = place.at.slice(0, -1).reduce((node, key) => node[key], next);
  holder.parameters ??= {};
  if (setting === undefined) delete holder.parameters[name];
  else holder.parameters[name] = setting;
  if (!Object.keys(holder.parameters).length) delete holder.parameters;
  return next;
}

/** Where `model`'s own value of `spec` stands, slot by slot, with what holds there if nothing is said. */
export function modelPlaces(recipe, model, spec, method) {
  return slots(recipe).flatMap((slot, index) => {
    const source = slot.sources.findIndex(other => other.model === model);
    if (source < 0 || isBaseAt(recipe, index, model, method)) return [];
    const inherited = recipe.slices?.[index].parameters?.[spec.name] ?? recipe.parameters?.[spec.name] ?? defaultOf(spec);
    return [{ at: [...slot.at, source, 'parameters'], label: rangeLabel(slot.sources[source].layer_range), inherited }];
  });
}

/** Where a value that serves all models stands: in the slices if any of them says something, else in the recipe. */
export function sharedPlaces(recipe, spec) {
  const slices = recipe.slices ?? [];
  const inherited = recipe.parameters?.[spec.name] ?? defaultOf(spec);
  if (!slices.some(slice => slice.parameters?.[spec.name] !== undefined)) {
    return [{ at: ['parameters'], label: '', inherited: defaultOf(spec) }];
  }
  const label = slice => rangeLabel(slice.sources[0]?.layer_range);
  return slices.map((slice, index) => ({ at: ['slices', index, 'parameters'], label: label(slice), inherited }));
}

/** `0–1` for layers 0 up to, not including, 2. */
export function rangeLabel(range) {
  if (!range) return '';
  return range[1] - range[0] === 1 ? `${range[0]}` : `${range[0]}–${range[1] - 1}`;
}

/** Why this recipe cannot be merged yet, or `null`; what only the server can tell is left to it. */
export function incomplete(recipe, method) {
  if (!method) return recipe.path?.length ? null : 'Choose a method, or lay a path.';
  const based = recipe.slices ? recipe.slices.every((_, i) => baseOf(recipe, i)) : Boolean(recipe.base_model);
  if (method.base === 'required' && !based) return `${method.name} merges relative to a base model: choose one.`;
  for (const [index, slot] of slots(recipe).entries()) {
    const base = method.base === 'ignored' ? null : baseOf(recipe, index);
    const names = new Set(slot.sources.map(source => source.model));
    if (base) method.counts_base ? names.add(base) : names.delete(base);
    if (names.size < method.min_models) {
      const missing = method.min_models - names.size;
      return `${method.name} needs ${missing === 1 ? 'one more model' : `${missing} more models`}: add below.`;
    }
  }
  return slots(recipe).length || recipe.path?.length ? null : `${method.name} needs a model: add one below.`;
}

/**
 * The recipe with another method: what carries over stays, what is required comes in, what the method does not know goes.
 * `base` is the last base model there was. Gives `{recipe, notes}`, a note for each thing that a user would miss.
 */
export function withMethod(recipe, method, base) {
  let next = structuredClone(recipe);
  const notes = [];
  next.merge_method = method.name;
  if (!slots(next).length) next.models = allModels(recipe).map(model => ({ model }));
  if (method.base === 'ignored') next = withoutBase(next, notes);
  else if (!next.base_model && method.base === 'required' && base) next = withBase(next, base);
  limitSources(next, method, notes);
  const known = new Map(method.parameters.map(spec => [spec.name, spec]));
  const clean = (holder, ofSource) => {
    for (const name of Object.keys(holder.parameters ?? {})) {
      const spec = known.get(name);
      if (!spec || (ofSource && !spec.per_model)) delete holder.parameters[name];
    }
    if (holder.parameters && !Object.keys(holder.parameters).length) delete holder.parameters;
  };
  clean(next, false);
  next.slices?.forEach(slice => clean(slice, false));
  slots(next).forEach(slot => slot.sources.forEach(source => clean(source, true)));
  return { recipe: withRequired(next, method), notes };
}

/** The recipe with every required parameter set somewhere. */
function withRequired(recipe, method) {
  const next = structuredClone(recipe);
  for (const spec of method.parameters.filter(spec => defaultOf(spec) === null)) {
    if (next.parameters?.[spec.name] !== undefined) continue;
    if (!spec.per_model) {
      const missing = (next.slices ?? []).every(slice => slice.parameters?.[spec.name] === undefined);
      if (missing) next.parameters = { ...next.parameters, [spec.name]: START[spec.name] ?? 1 };
      continue;
    }
    for (const [index, slot] of slots(next).entries()) {
      if (next.slices?.[index].parameters?.[spec.name] !== undefined) continue;
      const base = method.base === 'ignored' ? null : baseOf(next, index);
      const takers = slot.sources.filter(source => source.model !== base);
      // Task vectors are summed, not averaged: at weight 1 each, several of them overshoot.
      const value = method.base === 'required' ? Number((1 / Math.max(takers.length, 1)).toFixed(2)) : (START[spec.name] ?? 1);
      for (const source of takers) source.parameters = { [spec.name]: value, ...source.parameters };
    }
  }
  return next;
}

function limitSources(recipe, method, notes) {
  if (!method.max_models) return;
  const left = new Set();
  for (const [index, slot] of slots(recipe).entries()) {
    const base = method.base === 'ignored' ? null : baseOf(recipe, index);
    const room = method.max_models - (base && method.counts_base ? 1 : 0);
    const others = slot.sources.filter(source => source.model !== base);
    for (const { model } of others.slice(Math.max(room, 0))) {
      slot.sources.splice(
        slot.sources.findIndex(source => source.model === model),
        1,
      );
      left.add(model);
    }
  }
  if (left.size) notes.push(`${method.name} takes no more than ${method.max_models}: ${[...left].join(', ')} left out`);
}

/** Without a base; a base that was listed for its own sake, with parameters, stays an input. */
function withoutBase(recipe, notes) {
  const next = structuredClone(recipe);
  const base = next.base_model;
  delete next.base_model;
  for (const slot of slots(next)) {
    const others = slot.sources.filter(source => source.model !== base || source.parameters);
    if (others.length) slot.sources.splice(0, slot.sources.length, ...others);
  }
  next.slices?.forEach(slice => delete slice.base_model);
  if (base && !mergedModels(next).includes(base)) notes.push(`${next.merge_method} has no base: ${base} left out`);
  return next;
}

/** The recipe with this base model; slices get its layers. */
export function withBase(recipe, base) {
  const next = structuredClone(recipe);
  const old = next.base_model;
  next.base_model = base;
  for (const slot of slots(next)) {
    const listed = slot.sources.find(source => source.model === base);
    if (listed) delete listed.parameters;
    // The old base was listed only as such, unless it has parameters.
    const stale = slot.sources.findIndex(source => source.model === old && source.model !== base && !source.parameters);
    if (stale >= 0) slot.sources.splice(stale, 1);
    if (!listed && next.slices) slot.sources.push({ model: base, ...sameRange(slot.sources[0]) });
  }
  return next;
}

const sameRange = source => (source?.layer_range ? { layer_range: source.layer_range } : {});

/** The recipe with one more parent. */
export function withModel(recipe, model, method) {
  const next = structuredClone(recipe);
  if (!slots(next).length) next.models = [];
  for (const slot of slots(next)) slot.sources.push({ model, ...sameRange(slot.sources[0]) });
  next.merge_method ??= method.name;
  return withRequired(next, method);
}

/** The recipe without this parent; a path through it stays. */
export function withoutModel(recipe, model) {
  const next = structuredClone(recipe);
  if (next.models) next.models = next.models.filter(source => source.model !== model);
  if (next.slices) {
    next.slices.forEach(slice => (slice.sources = slice.sources.filter(source => source.model !== model)));
    next.slices = next.slices.filter(slice => slice.sources.length);
  }
  if (next.base_model === model) delete next.base_model;
  if (next.tokenizer_source === model) delete next.tokenizer_source;
  return next;
}

const kept = ({ out_type, chat_template }) => ({ ...(out_type && { out_type }), ...(chat_template && { chat_template }) });

/** One parent as it is. */
export const alone = (recipe, model) => ({ merge_method: 'passthrough', models: [{ model }], ...kept(recipe) });

/** The plain average of these models. */
export function uniform(recipe, models) {
  const weighted = models.map(model => ({ model, parameters: { weight: 1 } }));
  return { merge_method: 'linear', models: weighted, ...kept(recipe) };
}

/** The models that a uniform average is over: all that are not a base, or the base if there is no other. */
export function uniformModels(recipe) {
  const models = slots(recipe).length ? mergedModels(recipe) : allModels(recipe);
  const others = models.filter(model => model !== recipe.base_model);
  return others.length ? others : models;
}

function curves(recipe, method) {
  const gradual = spec => spec.kind !== 'bool' && hasEffect(spec) && (spec.per_model || defaultOf(spec) === null);
  const names = method ? method.parameters.filter(gradual).map(spec => spec.name) : [];
  const places = [
    { at: ['parameters'] },
    ...slots(recipe).flatMap(slot => slot.sources.map((_, i) => ({ at: [...slot.at, i, 'parameters'] }))),
  ];
  return places.flatMap(place => names.filter(name => read(recipe, place, name) !== undefined).map(name => ({ place, name })));
}

/** In how many groups of layers values are set: a number, or `null` if it differs. */
export function groupsOf(recipe, method) {
  const sizes = new Set(
    curves(recipe, method).flatMap(({ place, name }) => rulesOf(read(recipe, place, name)).map(rule => rule.values.length)),
  );
  return sizes.size > 1 ? null : ([...sizes][0] ?? 1);
}

/** The recipe with every value spread over `count` groups of layers. */
export function withGroups(recipe, count, method) {
  const spread = rule => ({ ...rule, values: resample(rule.values, count) });
  return curves(recipe, method).reduce(
    (next, { place, name }) => write(next, place, name, settingOf(rulesOf(read(next, place, name)).map(spread))),
    recipe,
  );
}
