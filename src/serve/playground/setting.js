// The value of one parameter, in every form a recipe may write it: a number, a gradient over layers, or filters.
// Pure functions; `rules` is the one shape that all forms come down to, as in ggraft itself.

/** `[{filter, values}]`: a plain value is one rule for every tensor, a scalar a gradient of one value. */
export function rulesOf(setting) {
  if (setting === undefined || setting === null) return [];
  const list = Array.isArray(setting) ? setting : [setting];
  if (!list.some(item => item !== null && typeof item === 'object')) return [{ filter: null, values: list }];
  return list.map(item => ({ filter: item.filter ?? null, values: [item.value].flat() }));
}

/** The shortest way to write these rules. */
export function settingOf(rules) {
  const short = values => (values.length === 1 ? values[0] : values);
  if (rules.length === 1 && rules[0].filter === null) return short(rules[0].values);
  return rules.map(({ filter, values }) => (filter === null ? { value: short(values) } : { filter, value: short(values) }));
}

/** The value of a gradient at depth `t`, 0 at the first layer and 1 at the last; truth values change in steps. */
export function valueAt(values, t) {
  const place = t * (values.length - 1);
  const low = Math.floor(place);
  if (typeof values[0] === 'boolean') return values[low];
  const high = Math.min(low + 1, values.length - 1);
  return values[low] + (place - low) * (values[high] - values[low]);
}

/** The same curve with `count` anchors; a single one is their mean. */
export function resample(values, count) {
  if (count === values.length) return values;
  const round = value => (typeof value === 'number' ? Number(value.toFixed(3)) : value);
  if (count > 1) return Array.from({ length: count }, (_, i) => round(valueAt(values, i / (count - 1))));
  if (typeof values[0] === 'boolean') return [values[0]];
  return [round(values.reduce((sum, value) => sum + value, 0) / values.length)];
}

const USUAL = { weight: [-0.5, 2], density: [0, 1], t: [0, 1], scale: [0, 2], lambda: [0, 2] };
const MANY = 1e6;

/** How a parameter is set: `{kind: 'toggle' | 'number' | 'slider', min, max, step, hard}`; `hard` are the limits it may not pass. */
export function controlOf(spec) {
  if (spec.kind === 'bool') return { kind: 'toggle' };
  const limit = value => (value === null || value === undefined || Math.abs(value) > MANY ? null : value);
  const hard = [limit(spec.min) ?? -Infinity, limit(spec.max) ?? Infinity];
  const whole = spec.kind === 'int';
  // Tolerances are a matter of magnitude; no slider finds 1e-8.
  if (!whole && spec.default > 0 && spec.default < 1e-3) return { kind: 'number', step: 'any', hard };
  if (whole) return { kind: 'slider', min: Math.max(hard[0], 0), max: Math.min(hard[1], 100), step: 1, hard };
  const [min, max] = USUAL[spec.name] ?? [Math.max(hard[0], 0), Math.min(hard[1], 2)];
  return { kind: 'slider', min, max, step: 0.01, hard };
}

/** The control's range, grown in tenths to hold all `values`. */
export function rangeFor(control, values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return [low < control.min ? Math.floor(low * 10) / 10 : control.min, high > control.max ? Math.ceil(high * 10) / 10 : control.max];
}

/** Whether the parameter does anything: recipes carry some from method to method without effect. */
export const hasEffect = spec => !/without effect/.test(spec.doc);

/** What a parameter starts at when nothing has set it. */
export function defaultOf(spec) {
  if (spec.default === null || spec.default === undefined) return null;
  return spec.kind === 'bool' ? Boolean(spec.default) : spec.default;
}
