// A recipe's path as single blocks for editing, and back as compact runs; pure functions.

/** One `{model, layer, scale}` for each block passed, `model: null` for the merge; `countOf(model)` is how many blocks it has. */
export function expand(path, countOf) {
  return (path ?? []).flatMap(hop => {
    const model = hop.model ?? null;
    const [start, end] = hop.layer === undefined ? (hop.layers ?? [0, countOf(model)]) : [hop.layer, hop.layer + 1];
    const count = Math.max(end - start, 0);
    return Array.from({ length: count }, (_, i) => ({ model, layer: start + i, scale: hop.scale ?? 1 }));
  });
}

/** The shortest path that passes these blocks. */
export function compact(blocks) {
  const runs = [];
  for (const { model, layer, scale } of blocks) {
    const last = runs.at(-1);
    if (last && last.model === model && last.scale === scale && last.end === layer) last.end += 1;
    else runs.push({ model, start: layer, end: layer + 1, scale });
  }
  return runs.map(({ model, start, end, scale }) => ({
    ...(model === null ? {} : { model }),
    ...(end - start === 1 ? { layer: start } : { layers: [start, end] }),
    ...(scale === 1 ? {} : { scale }),
  }));
}

/** The blocks with the one at `from` moved to stand before what is now at `to`. */
export function moved(blocks, from, to) {
  const rest = blocks.toSpliced(from, 1);
  return rest.toSpliced(to > from ? to - 1 : to, 0, blocks[from]);
}

/** The blocks with `block` put in at `index`. */
export const inserted = (blocks, index, block) => blocks.toSpliced(index, 0, block);

/** The blocks without the one at `index`. */
export const removed = (blocks, index) => blocks.toSpliced(index, 1);

/** The blocks with the scale at `index` set. */
export const scaled = (blocks, index, scale) => blocks.with(index, { ...blocks[index], scale });
