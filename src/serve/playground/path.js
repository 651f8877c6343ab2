// The path as blocks that are dragged about, or moved by keys; by default there is none.

import { announce, badge, button, h, s, select, tidy, tint } from './dom.js';
import { compact, expand, inserted, moved, removed, scaled } from './hops.js';
import { mergedBlocks } from './recipe.js';

/** A pointer that moved so far, in pixels, drags; one that moved less has clicked. */
const SLACK = 4;
/** So far outside of the path, in pixels, a block that is let go is thrown away. */
const AWAY = 48;
const HELP = '← → move · ↑ ↓ choose · Enter sets the scale · + doubles · Delete removes';

/** Which block of its path each recipe was last edited at; new ones go behind it. */
const cursors = new WeakMap();

/** The path section; `style(model)` gives `{letter, hue, name}`, `parents` what may be passed besides the merge. */
export function pathSection({ editor, parents, countOf, style, scales }) {
  const { recipe } = editor;
  const merged = mergedBlocks(recipe, countOf);
  const count = model => (model === null ? merged : countOf(model));
  const blocks = expand(recipe.path, count);
  const cursor = Math.min(cursors.get(editor) ?? blocks.length - 1, blocks.length - 1);
  const put = (next, at, focus = true) => {
    const changed = { ...editor.recipe, path: compact(next) };
    if (!next.length) {
      delete changed.path;
      delete changed.path_scale;
    }
    const place = Math.max(0, Math.min(at ?? cursor, next.length - 1));
    cursors.set(editor, place);
    // The focus follows the block; the section is drawn anew before this returns.
    editor.change(changed);
    if (focus) document.querySelector(`[data-hop="${place}"]`)?.focus();
  };
  if (!blocks.length) {
    const first = merged ? null : parents[0];
    const start = () =>
      put(
        Array.from({ length: count(first) }, (_, layer) => ({ model: first, layer, scale: 1 })),
        count(first) - 1,
      );
    const text = 'No path: tokens pass the merge’s blocks in order.';
    return [head(), h('div.path-none', h('p.muted.small', text), button('Lay a path', start, { 'data-testid': 'path-start' }))];
  }

  const track = h('ol.track', { id: 'path-track', 'aria-label': `path of ${blocks.length} blocks. ${HELP}` });
  const drag = dragging(track);
  blocks.forEach((block, index) => track.append(hop(block, index)));

  function hop(block, index) {
    const { letter, name } = style(block.model);
    const scale = block.scale === 1 ? null : h('span.scale', `×${tidy(block.scale)}`);
    const label = `${name} block ${block.layer}${block.scale === 1 ? '' : `, scale ${tidy(block.scale)}`}, place ${index + 1} of ${blocks.length}`;
    const chip = h(
      'li.chip',
      { tabindex: index === cursor ? 0 : -1, 'data-hop': index, 'aria-label': label, title: label },
      h('b', letter),
      `${block.layer}`,
      scale,
    );
    tint(chip, style(block.model));
    chip.addEventListener('keydown', event => event.target === chip && keys(event, chip, index));
    chip.addEventListener('focus', () => {
      cursors.set(editor, index);
      track.querySelectorAll('.chip').forEach(other => (other.tabIndex = other === chip ? 0 : -1));
    });
    chip.addEventListener('dblclick', () => editScale(chip, index));
    drag(chip, {
      drop: at => put(moved(blocks, index, at), at > index ? at - 1 : at),
      away: () => put(removed(blocks, index), index),
      click: () => chip.focus(),
    });
    return chip;
  }

  function keys(event, chip, index) {
    const go = to => track.querySelector(`[data-hop="${to}"]`)?.focus();
    const acts = {
      ArrowLeft: () => index > 0 && put(moved(blocks, index, index - 1), index - 1),
      ArrowRight: () => index < blocks.length - 1 && put(moved(blocks, index, index + 2), index + 1),
      ArrowUp: () => go(index - 1),
      ArrowDown: () => go(index + 1),
      Home: () => go(0),
      End: () => go(blocks.length - 1),
      Delete: () => put(removed(blocks, index), index),
      Backspace: () => put(removed(blocks, index), index - 1),
      '+': () => put(inserted(blocks, index + 1, { ...blocks[index] }), index + 1),
      Enter: () => editScale(chip, index),
    };
    if (!acts[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    acts[event.key]();
  }

  function editScale(chip, index) {
    const field = h('input.scale-field', {
      type: 'number',
      step: 0.05,
      value: tidy(blocks[index].scale),
      'aria-label': 'scale of what enters this block',
    });
    let over = false;
    const finish = take => {
      if (over) return;
      over = true;
      const value = Number(field.value);
      if (take && field.value !== '' && value !== blocks[index].scale) put(scaled(blocks, index, value), index);
      else {
        field.remove();
        chip.focus();
      }
    };
    field.addEventListener('keydown', event => {
      event.stopPropagation();
      if (event.key === 'Enter' || event.key === 'Escape') finish(event.key === 'Enter');
    });
    field.addEventListener('pointerdown', event => event.stopPropagation());
    field.addEventListener('blur', () => finish(true));
    chip.append(field);
    field.select();
  }

  const add = (block, at = (cursors.get(editor) ?? cursor) + 1) => {
    put(inserted(blocks, at, block), at, false);
    announce(`added at place ${at + 1}`);
  };
  const shelf = (merged ? [null, ...parents] : parents).map(model => {
    const { name } = style(model);
    const spare = Array.from({ length: count(model) }, (_, layer) => {
      const block = { model, layer, scale: 1 };
      const chip = h(
        'button.chip.spare',
        { type: 'button', title: `add block ${layer} of ${name}`, 'data-spare': `${model ?? 'merge'}/${layer}` },
        `${layer}`,
      );
      drag(chip, { drop: at => add(block, at), away() {}, click() {} });
      chip.addEventListener('click', () => add(block));
      return chip;
    });
    return tint(h('div.shelf', badge(style(model)), h('span.shelf-name', { title: name }, name), h('div.spares', spare)), style(model));
  });
  const setScale = value => editor.change({ ...editor.recipe, path_scale: value });
  const kinds = select(
    scales.map(name => [name, name]),
    recipe.path_scale ?? scales[0],
    setScale,
    { id: 'path-scale', title: 'what a scale multiplies' },
  );
  const clear = button('No path', () => put([]), { 'data-testid': 'path-clear' });
  const below = h('div.row', h('label.inline', 'scales multiply ', kinds), h('span.space'), clear);
  const shelves = h('div.shelves', { role: 'group', 'aria-label': 'blocks to add' }, shelf);
  return [head(`${blocks.length} blocks`), h('div.path', picture(blocks, style), track, h('p.muted.small', HELP), below, shelves)];
}

const head = (count = '') => h('div.part-head', h('h3', 'Path'), h('span.muted.num', count));

/** The path as a line, block over position, as in a study's report; the chips below say the same. */
function picture(blocks, style) {
  const [width, height, edge] = [420, 56, 5];
  const top = Math.max(...blocks.map(block => block.layer), 1);
  const x = i => edge + (blocks.length > 1 ? i / (blocks.length - 1) : 0.5) * (width - 2 * edge);
  const y = layer => height - edge - (layer / top) * (height - 2 * edge);
  const size = Math.max(1.5, Math.min(4, (0.4 * width) / blocks.length));
  const line = s('polyline', { points: blocks.map(({ layer }, i) => `${x(i).toFixed(1)},${y(layer).toFixed(1)}`).join(' ') });
  const dots = blocks.map(({ model, layer }, i) =>
    s('circle', { cx: x(i).toFixed(1), cy: y(layer).toFixed(1), r: size, fill: style(model).hue }),
  );
  return s('svg.path-picture', { viewBox: `0 0 ${width} ${height}`, 'aria-hidden': 'true' }, line, dots);
}

/** Makes chips draggable by mouse, pen and finger alike; a mark on the track shows where one would go. */
function dragging(track) {
  const mark = h('li.drop-mark', { 'aria-hidden': 'true' });
  const placeAt = (x, y) => {
    const chips = [...track.querySelectorAll('.chip')];
    for (const [index, chip] of chips.entries()) {
      const box = chip.getBoundingClientRect();
      if (y < box.top - 3 || (y <= box.bottom + 3 && x < box.left + box.width / 2)) return index;
    }
    return chips.length;
  };
  const outside = (x, y) => {
    const box = track.getBoundingClientRect();
    return x < box.left - AWAY || x > box.right + AWAY || y < box.top - AWAY || y > box.bottom + AWAY;
  };
  return (chip, { drop, away, click }) => {
    chip.addEventListener('pointerdown', down => {
      if (down.button !== 0) return;
      let ghost = null;
      const move = event => {
        if (!ghost && Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY) < SLACK) return;
        ghost ??= lift(chip);
        ghost.style.translate = `${event.clientX}px ${event.clientY}px`;
        const gone = outside(event.clientX, event.clientY);
        ghost.classList.toggle('gone', gone);
        const chips = track.querySelectorAll('.chip');
        if (gone) mark.remove();
        else track.insertBefore(mark, chips[placeAt(event.clientX, event.clientY)] ?? null);
      };
      const up = event => {
        removeEventListener('pointermove', move);
        removeEventListener('pointerup', up);
        removeEventListener('pointercancel', up);
        mark.remove();
        chip.classList.remove('lifted');
        if (!ghost) return event.type === 'pointerup' && click();
        ghost.remove();
        if (event.type === 'pointercancel') return;
        // A click may follow on the chip that was dragged, and only a drop is meant.
        const swallow = after => after.stopImmediatePropagation();
        chip.addEventListener('click', swallow, { capture: true });
        setTimeout(() => {
          chip.removeEventListener('click', swallow, { capture: true });
          if (outside(event.clientX, event.clientY)) away();
          else drop(placeAt(event.clientX, event.clientY));
        });
      };
      addEventListener('pointermove', move);
      addEventListener('pointerup', up);
      addEventListener('pointercancel', up);
    });
  };
}

function lift(chip) {
  const ghost = chip.cloneNode(true);
  ghost.classList.add('ghost');
  ghost.removeAttribute('data-hop');
  ghost.style.setProperty('--hue', getComputedStyle(chip).getPropertyValue('--hue'));
  document.body.append(ghost);
  chip.classList.add('lifted');
  return ghost;
}
