// Keeps one served recipe and the user's edits of it in step: at most one change on its way, the latest wins, undo and redo.

import * as api from './api.js';
import { incomplete } from './recipe.js';

/** Changes of one gesture this close together, in milliseconds, are one step of undo. */
const GESTURE = 1200;
/** So long, in milliseconds, answers speak before the next change; a slider that moves sends many. */
const BREATH = 120;
const MOST_STEPS = 200;
const MOST_SWAPS = 32;

/**
 * Events: `edited` (the recipe changed here; `detail.redraw` if controls must be drawn anew), `swapping` (a change leaves;
 * listeners may add promises to `detail.wait`), `swapped`, `failed`, `status` (any of what the panel says has changed).
 */
export class Editor extends EventTarget {
  /** The recipe as shown, edits included. */
  recipe;
  /** What the server last said about it. */
  info;
  /** The recipe as it was when the page met it. */
  initial;
  /** The last swap, as the server timed it, and the seconds of those before. */
  swap = null;
  swaps = [];
  /** Why the last change was refused, or what it still lacks. */
  error = null;
  lacking = null;
  /** The base model there was before a method without one. */
  lastBase = null;
  busy = false;

  #methodOf;
  #undo = [];
  #redo = [];
  #gesture = { name: null, time: 0 };
  #wanted = null;
  #flushing = false;

  constructor(info, methodOf) {
    super();
    this.#methodOf = methodOf;
    this.initial = structuredClone(info.initial ?? info.recipe);
    this.#accept(info);
    this.recipe = info.recipe;
    this.lastBase = info.recipe.base_model ?? null;
  }

  get id() {
    return this.info.id;
  }

  get readOnly() {
    return this.info.kind === 'file';
  }

  get method() {
    return this.#methodOf(this.recipe.merge_method);
  }

  get canUndo() {
    return this.#undo.length > 0;
  }

  get canRedo() {
    return this.#redo.length > 0;
  }

  /** A new recipe; `gesture` names what moves, so that one drag is one step of undo and draws no controls under the pointer. */
  change(recipe, { gesture = null } = {}) {
    const now = performance.now();
    const same = gesture !== null && gesture === this.#gesture.name && now - this.#gesture.time < GESTURE;
    if (!same) this.#undo = [...this.#undo, this.recipe].slice(-MOST_STEPS);
    this.#gesture = { name: gesture, time: now };
    this.#redo = [];
    this.#set(recipe, gesture === null);
  }

  undo() {
    this.#step(this.#undo, this.#redo);
  }

  redo() {
    this.#step(this.#redo, this.#undo);
  }

  #step(from, to) {
    if (!from.length) return;
    to.push(this.recipe);
    this.#gesture = { name: null, time: 0 };
    this.#set(from.pop(), true);
  }

  #set(recipe, redraw) {
    this.recipe = recipe;
    this.lastBase = recipe.base_model ?? this.lastBase;
    this.lacking = incomplete(recipe, this.method);
    this.#emit('edited', { redraw });
    if (this.lacking) this.#drop();
    else this.#send(() => api.putRecipe(this.id, recipe));
    this.#emit('status');
  }

  /** The text of a recipe instead of sliders; resolves to whether the server took it. */
  async applyYaml(text) {
    const before = this.recipe;
    const info = await this.#send(() => api.putYaml(this.id, text));
    if (!info) return false;
    this.#undo.push(before);
    this.#redo = [];
    this.recipe = info.recipe;
    this.lastBase = info.recipe.base_model ?? this.lastBase;
    this.lacking = null;
    this.#emit('edited', { redraw: true });
    this.#emit('status');
    return true;
  }

  /** Takes over what others made of the recipe meanwhile. */
  async refresh() {
    const info = await api.getRecipe(this.id);
    if (this.#flushing || info.fingerprint === this.info.fingerprint) return;
    this.#undo.push(this.recipe);
    this.#accept(info);
    this.recipe = info.recipe;
    this.#emit('edited', { redraw: true });
    this.#emit('status');
  }

  /** Queues a change in place of one that still waits; resolves to the server's answer, or `null` if it was refused or overtaken. */
  #send(put) {
    this.#drop();
    return new Promise(answer => {
      this.#wanted = { put, answer };
      if (!this.#flushing) this.#flush();
    });
  }

  #drop() {
    this.#wanted?.answer(null);
    this.#wanted = null;
  }

  async #flush() {
    this.#flushing = true;
    while (this.#wanted) {
      const wait = [];
      this.busy = true;
      this.#emit('status');
      this.#emit('swapping', { wait });
      await Promise.all(wait);
      // While answers were being stopped something newer may have come in, or what came may have gone.
      const { put, answer } = this.#wanted ?? { put: async () => null, answer() {} };
      this.#wanted = null;
      const info = await put().catch(error => {
        this.error = error.message;
        return null;
      });
      this.busy = false;
      if (info) this.#accept(info);
      this.#emit(info ? 'swapped' : 'failed');
      this.#emit('status');
      answer(info);
      await new Promise(resolve => setTimeout(resolve, BREATH));
    }
    this.#flushing = false;
  }

  #accept(info) {
    this.info = info;
    this.error = null;
    if (!info.swap) return;
    this.swap = info.swap;
    this.swaps = [...this.swaps, info.swap.seconds].slice(-MOST_SWAPS);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
