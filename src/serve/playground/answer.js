// One answer on the page: text as it streams in, where the recipe changed under it, and what it took.

import { brief, h } from './dom.js';

/** Below this probability a token is underlined too, so that colour is not all that says so. */
const UNLIKELY = 0.5;

export class Answer {
  /** Runs of text, each with the fingerprint of the recipe that wrote it. */
  #segments = [];
  #state = 'new';
  /** The last whole answer, and what of it still shows behind the new one. */
  #before = null;
  #shadow = '';
  #started = 0;
  #first = 0;
  #pieces = 0;

  constructor() {
    this.body = h('div.answer-text');
    this.ghost = h('span.ghost-text', { 'aria-hidden': 'true' });
    this.meta = h('div.meta');
    this.element = h('div.answer', { 'aria-live': 'polite' }, this.body, this.meta);
  }

  get text() {
    return this.#segments.map(segment => segment.text).join('');
  }

  /** The fingerprint of the recipe that wrote the end of it. */
  get fingerprint() {
    return this.#segments.at(-1)?.fingerprint ?? null;
  }

  /** A new answer begins, over the shadow of the old one; with `keep` the old one goes on. */
  begin({ keep, fingerprint }) {
    const old = this.text;
    if (!keep) {
      // An answer that was cut short is nothing to compare with.
      if (this.#state === 'done') this.#before = old;
      this.#segments = [];
      this.body.replaceChildren(this.ghost);
      this.#shadow = old + this.#shadow.slice(old.length);
      this.ghost.textContent = this.#shadow;
    }
    this.#open(fingerprint);
    this.#enter('running');
    this.#started = performance.now();
    this.#pieces = 0;
    this.#note('…');
  }

  #open(fingerprint) {
    const last = this.#segments.at(-1);
    if (last && last.fingerprint === fingerprint) return;
    if (last && !last.text) last.fingerprint = fingerprint;
    else {
      const label = `from here on ${fingerprint ?? 'another recipe'}`;
      const mark =
        last &&
        h('span.changed-here', { role: 'img', title: `the recipe changed: ${label}`, 'aria-label': `(the recipe changed: ${label})` });
      const element = h('span.segment');
      if (mark) this.#insert(mark);
      this.#insert(element);
      this.#segments.push({ fingerprint, text: '', element });
    }
  }

  #insert(node) {
    this.ghost.isConnected ? this.ghost.before(node) : this.body.append(node);
  }

  /** One more piece of text, written by the recipe of this fingerprint, and how likely it was, if that is known. */
  push(piece, fingerprint, probability) {
    if (fingerprint) this.#open(fingerprint);
    const segment = this.#segments.at(-1);
    if (!this.#pieces) this.#first = performance.now() - this.#started;
    this.#pieces += 1;
    segment.text += piece;
    if (probability === undefined) segment.element.append(piece);
    else {
      const percent = `${(100 * probability).toFixed(probability < 0.1 ? 1 : 0)} %`;
      const token = h(probability < UNLIKELY ? 'span.token.unlikely' : 'span.token', { title: percent }, piece);
      token.style.setProperty('--p', probability.toFixed(3));
      segment.element.append(token);
    }
    if (this.ghost.isConnected) this.ghost.textContent = this.#shadow.slice(this.text.length);
    const seconds = (performance.now() - this.#started - this.#first) / 1000;
    if (this.#pieces % 8 === 0) this.#note(`${this.#pieces} tokens, ${Math.round((this.#pieces - 1) / seconds)}/s`);
  }

  /** It is over: `reason` is `stop`, `length`, or `stopped` by the user; `timings` are the server's. */
  finish({ reason, timings, actions }) {
    this.ghost.remove();
    this.#shadow = this.text;
    this.#enter(reason === 'stop' || reason === 'length' ? 'done' : 'stopped');
    const said = [];
    if (timings?.predicted_n) said.push(`${timings.predicted_n} tokens, ${rate(timings.predicted_n, timings.predicted_ms)}/s`);
    else if (this.#pieces) said.push(`${this.#pieces} tokens`);
    if (this.#pieces) said.push(`first after ${Math.round(this.#first)} ms`);
    if (reason === 'length') said.push('cut at the limit');
    if (reason === 'stopped') said.push('stopped');
    if (!this.text && reason === 'stop') said.push('an empty answer');
    if (this.#before !== null && reason !== 'stopped') said.push(compared(this.#before, this.text));
    this.#note(...said);
    this.meta.append(h('span.actions', actions(reason)));
  }

  /** It failed, with what there is so far kept. */
  fail(message, actions) {
    this.ghost.remove();
    this.#enter('failed');
    this.meta.replaceChildren(h('span.problem', { role: 'alert' }, message), h('span.actions', actions));
  }

  /** Cut for a swap: the next answer begins in a moment, so the shadow stays. */
  pause() {
    this.#enter('paused');
    this.#note('the recipe changes…');
  }

  /** The question is another one, so that answers are not to be compared. */
  forget() {
    this.#before = null;
    this.#enter('stopped');
  }

  #enter(state) {
    this.#state = state;
    this.element.dataset.state = state;
    this.element.setAttribute('aria-busy', String(state === 'running' || state === 'paused'));
  }

  #note(...parts) {
    const print =
      this.fingerprint && h('code.fingerprint', { title: `answered by the recipe ${this.fingerprint}` }, brief(this.fingerprint));
    this.meta.replaceChildren(...[print, ...parts.map(part => h('span', part))].filter(Boolean));
  }
}

function rate(count, ms) {
  const perSecond = (1000 * count) / Math.max(ms, 1e-3);
  return perSecond < 100 ? perSecond.toFixed(1) : Math.round(perSecond);
}

/** Greedy answers part ways at one token; where that is tells how deep a change went. */
function compared(before, after) {
  if (before === after) return 'same as before';
  let at = 0;
  while (at < before.length && before[at] === after[at]) at += 1;
  return at > 1 ? `differs after ${at} characters` : 'differs from the start';
}
