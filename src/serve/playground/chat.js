// One column of the chat: a conversation with one recipe, which may change while it speaks.

import * as api from './api.js';
import { Answer } from './answer.js';
import { brief, button, h, remember, remembered, select } from './dom.js';

const TEMPLATES = [
  ['{prompt}', 'as it is'],
  ['Q: {prompt}\nA:', 'Q: … A:'],
  ['問: {prompt}\n答:', '問: … 答:'],
  ['### Instruction:\n{prompt}\n\n### Response:\n', 'Alpaca'],
];

/** What a question is put into for this model: siblings were mostly trained alike, so the last one chosen is the first guess. */
const templateOf = id => remembered(`template.${id}`, remembered('template', TEMPLATES[0][0]));

export class Column {
  editor = null;
  #turns = [];
  #controller = null;
  #running = null;
  #interrupted = null;
  #latest = 0;
  #prompt = '';
  #settings;
  #onRunning;
  #onEdit;
  #listeners = {
    swapping: e => this.#swapping(e),
    swapped: () => this.#swapped(),
    failed: () => this.#failed(),
    status: () => this.#head(),
  };

  /** `settings()` gives the composer's; `onPick(id)` wants another recipe here, `onSelect()` this one in the panel. */
  constructor({ name, settings, onPick, onSelect, onRunning, onEdit }) {
    this.#settings = settings;
    this.#onRunning = onRunning;
    this.#onEdit = onEdit;
    this.picker = h('select.picker', {
      'aria-label': `recipe that answers ${name}`,
      'data-testid': `recipe-${name}`,
      onchange: event => onPick(event.target.value),
    });
    this.facts = h('span.facts');
    this.editing = button('edit', onSelect, {
      class: 'quiet edit-this',
      title: 'edit this recipe in the panel',
      'data-testid': `edit-${name}`,
    });
    this.prompting = h('div.prompting');
    this.log = h('div.log', { role: 'region', 'aria-label': `conversation ${name}`, tabindex: 0 });
    this.element = h(
      'section.column',
      { 'aria-label': `chat ${name}` },
      h('header.column-head', this.picker, this.facts, this.editing),
      this.prompting,
      this.log,
    );
    this.#empty();
  }

  /** Lets this recipe answer from now on. */
  bind(editor) {
    for (const [type, listener] of Object.entries(this.#listeners)) {
      this.editor?.removeEventListener(type, listener);
      editor.addEventListener(type, listener);
    }
    const other = this.editor !== null;
    this.editor = editor;
    this.#head();
    this.#template();
    if (other && this.#settings().onChange === 'anew') this.again();
  }

  /** No longer on the page. */
  close() {
    this.stop();
    for (const [type, listener] of Object.entries(this.#listeners)) this.editor?.removeEventListener(type, listener);
    this.element.remove();
  }

  /** The recipes to choose from. */
  offer(recipes) {
    this.picker.replaceChildren(...recipes.map(({ id, kind }) => h('option', { value: id }, kind === 'file' ? `${id} (file)` : id)));
    if (this.editor) this.picker.value = this.editor.id;
  }

  get running() {
    return this.#controller !== null;
  }

  get lastQuestion() {
    return this.#turns.at(-1)?.question ?? null;
  }

  /** Takes over another column's conversation, to answer its last question too. */
  follow(other) {
    this.clear();
    for (const turn of other.#turns) this.#turn(turn.question, turn.answer.text);
    this.again();
  }

  ask(question) {
    this.#run(this.#turn(question));
  }

  /** Asks the last question again, as it was or in other words. */
  again(question) {
    const turn = this.#turns.at(-1);
    if (!turn) return;
    if (question !== undefined) {
      turn.question = question;
      turn.asked.textContent = question;
      turn.answer.forget();
    }
    this.#run(turn);
  }

  stop() {
    this.#latest += 1;
    this.#interrupted?.answer.finish({ reason: 'stopped', actions: how => this.#actions(this.#turns.at(-1), how) });
    this.#interrupted = null;
    return this.#halt('stopped');
  }

  clear() {
    this.stop();
    this.#turns = [];
    this.#empty();
  }

  #empty() {
    this.log.replaceChildren(h('p.empty', 'Ask something, then move a slider: the answer follows the recipe.'));
  }

  #head() {
    const { info } = this.editor;
    this.picker.value = info.id;
    this.facts.replaceChildren(
      h('code.fingerprint', { title: `fingerprint ${info.fingerprint}` }, brief(info.fingerprint)),
      ` ${info.architecture}, ${info.block_count} blocks`,
    );
    if (this.prompting.hidden !== info.chat) this.#template();
  }

  /** What a question is put into where the model has no chat template. */
  #template() {
    const { id, info } = this.editor;
    this.prompting.hidden = Boolean(info.chat);
    const keep = text => {
      this.#prompt = text;
      remember(`template.${id}`, text);
      remember('template', text);
    };
    this.#prompt = templateOf(id);
    const own = !TEMPLATES.some(([text]) => text === this.#prompt);
    const area = h('textarea', {
      rows: 3,
      spellcheck: false,
      hidden: !own,
      value: this.#prompt,
      'aria-label': 'prompt template',
      'data-testid': 'template',
      oninput: () => keep(area.value),
    });
    const choose = value => {
      area.hidden = value !== '';
      if (value) area.value = value;
      keep(area.value);
    };
    const known = select([...TEMPLATES, ['', 'own…']], own ? '' : this.#prompt, choose, {
      'aria-label': 'prompt template',
      'data-testid': 'template-choice',
    });
    const what = h(
      'span.muted',
      { title: 'the model has no chat template, so it sees no earlier questions' },
      'No chat template: each question goes in alone,',
    );
    this.prompting.replaceChildren(h('div.row', what, known), area);
  }

  #turn(question, text) {
    if (!this.#turns.length) this.log.replaceChildren();
    // Only the last question can be asked again.
    for (const old of this.log.querySelectorAll('.actions, .edit-last')) old.remove();
    const edit = button('edit', this.#onEdit, { class: 'quiet edit-last', 'data-testid': 'edit-last', title: 'edit this question' });
    const turn = { question, asked: h('div.question-text', question), answer: new Answer() };
    this.#turns.push(turn);
    this.log.append(h('article.turn', h('div.question', turn.asked, edit), turn.answer.element));
    if (text) {
      turn.answer.begin({ keep: false });
      turn.answer.push(text);
      turn.answer.finish({ reason: 'copied', actions: () => [] });
    }
    this.#down(true);
    return turn;
  }

  async #run(turn, { keep = false } = {}) {
    const number = ++this.#latest;
    await this.#halt('stopped');
    if (number !== this.#latest) return;
    const controller = new AbortController();
    this.#controller = controller;
    this.#running = this.#answer(turn, keep, controller.signal);
    this.#onRunning();
    await this.#running;
    if (this.#controller === controller) this.#controller = null;
    this.#onRunning();
  }

  async #answer(turn, keep, signal) {
    const { answer } = turn;
    const { editor } = this;
    const [path, body] = this.#request(turn, keep);
    let reason = 'stop';
    let timings = null;
    answer.begin({ keep, fingerprint: editor.info.fingerprint });
    try {
      for await (const event of api.stream(path, body, signal)) {
        const choice = event.choices?.[0];
        for (const [text, probability] of piecesOf(choice)) answer.push(text, event.system_fingerprint, probability);
        reason = choice?.finish_reason ?? reason;
        timings = event.timings ?? timings;
        this.#down();
      }
    } catch (error) {
      if (!signal.aborted) return answer.fail(error.message, [button('try again', () => this.again())]);
      if (signal.reason === 'swap') return answer.pause();
      reason = 'stopped';
    }
    answer.finish({ reason, timings, actions: how => this.#actions(turn, how) });
    this.#down();
    if (answer.fingerprint !== editor.info.fingerprint) editor.refresh();
  }

  #actions(turn, reason) {
    if (turn !== this.#turns.at(-1)) return [];
    const more = button('continue', () => this.#run(turn, { keep: true }), { 'data-testid': 'continue' });
    const again = button('again', () => this.again(), { 'data-testid': 'again', title: 'ask the same again' });
    return reason === 'stop' ? [again] : [more, again];
  }

  #request(turn, keep) {
    const { sampling, system, colour } = this.#settings();
    const { id, info } = this.editor;
    const common = { model: id, ...sampling, stream_options: { include_usage: true } };
    if (!info.chat) {
      const prompt = this.#prompt.replaceAll('{prompt}', () => turn.question);
      return ['v1/completions', { ...common, prompt: prompt + (keep ? turn.answer.text : ''), ...(colour && { logprobs: 1 }) }];
    }
    const before = this.#turns.slice(0, this.#turns.indexOf(turn));
    const said = (role, content) => ({ role, content });
    const messages = [
      ...(system ? [said('system', system)] : []),
      ...before.flatMap(({ question, answer }) => [said('user', question), said('assistant', answer.text)]),
      said('user', turn.question),
      ...(keep && turn.answer.text ? [said('assistant', turn.answer.text)] : []),
    ];
    return ['v1/chat/completions', { ...common, messages, ...(colour && { logprobs: true }) }];
  }

  async #halt(reason) {
    this.#controller?.abort(reason);
    await this.#running;
  }

  #swapping(event) {
    if (!this.running || this.#settings().onChange === 'nothing') return;
    this.#interrupted = this.#turns.at(-1);
    event.detail.wait.push(this.#halt('swap'));
  }

  #swapped() {
    const turn = this.#interrupted;
    const { onChange } = this.#settings();
    this.#interrupted = null;
    if (turn) this.#run(turn, { keep: onChange === 'continue' });
    else if (onChange === 'anew') this.again();
  }

  /** The old recipe still holds, so what it was saying goes on. */
  #failed() {
    const turn = this.#interrupted;
    this.#interrupted = null;
    if (turn) this.#run(turn, { keep: true });
  }

  #down(always = false) {
    const { log } = this;
    if (always || log.scrollHeight - log.scrollTop - log.clientHeight < 80) log.scrollTop = log.scrollHeight;
  }
}

/** The text of a streamed event, by tokens with their probabilities where those are known. */
function piecesOf(choice) {
  const text = choice?.delta?.content ?? choice?.text ?? '';
  if (!text) return [];
  const chat = choice.logprobs?.content?.map(({ token, logprob }) => [token, Math.exp(logprob)]);
  const plain = choice.logprobs?.tokens?.map((token, i) => [token, Math.exp(choice.logprobs.token_logprobs[i])]);
  const tokens = chat ?? plain ?? [[text, undefined]];
  // Tokens may break inside a character; the text never does.
  return tokens.map(([token]) => token).join('') === text ? tokens : [[text, Math.min(...tokens.map(([, p]) => p))]];
}
