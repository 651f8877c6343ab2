// Talks to the server: JSON calls, streamed answers, and the API key where one is asked for.

const KEY = 'ggraft.key';

/** What the server refused, in its own words. */
export class ApiError extends Error {
  constructor(status, error = {}) {
    super(error.message ?? `the server answered ${status}`);
    this.status = status;
    this.code = error.code;
  }
}

let key = sessionStorage.getItem(KEY);
let asking = null;
let ask = async () => null;

/** `prompt` is called when a key is needed and gives one, or `null` if the user has none. */
export function onKeyNeeded(prompt) {
  ask = prompt;
}

/** Whether calls carry a key; frames and links cannot. */
export const hasKey = () => key !== null;

async function newKey(refused) {
  // Calls that were refused with an older key than today's only need to try again.
  if (refused !== key) return;
  asking ??= ask(refused !== null).finally(() => (asking = null));
  const given = await asking;
  if (given === null) throw new ApiError(401, { message: 'the server wants an API key' });
  key = given;
  sessionStorage.setItem(KEY, key);
}

async function send(method, path, { body, type = 'application/json', signal } = {}) {
  for (;;) {
    const headers = {};
    const used = key;
    if (body !== undefined) headers['content-type'] = type;
    if (used !== null) headers.authorization = `Bearer ${used}`;
    const response = await fetch(path, { method, headers, body, signal, cache: 'no-store' }).catch(error => {
      throw error.name === 'AbortError' ? error : new Error('the server does not answer; is `ggraft serve` still running?');
    });
    if (response.status === 401) {
      await newKey(used);
      continue;
    }
    if (!response.ok) {
      const answer = await response.json().catch(() => ({}));
      throw new ApiError(response.status, answer.error);
    }
    return response;
  }
}

const json = async (method, path, body, options) => {
  const text = body === undefined ? undefined : JSON.stringify(body);
  const response = await send(method, path, { body: text, ...options });
  return response.status === 204 ? null : response.json();
};

const recipe = id => `v1/recipes/${encodeURIComponent(id)}`;

export const recipes = () => json('GET', 'v1/recipes');
export const getRecipe = id => json('GET', recipe(id));
export const putRecipe = (id, body) => json('PUT', recipe(id), body);
export const putYaml = async (id, text) => (await send('PUT', recipe(id), { body: text, type: 'application/yaml' })).json();
export const deleteRecipe = id => json('DELETE', recipe(id));
export const study = () => json('GET', 'v1/study');
export const candidate = id => json('GET', `v1/study/${encodeURIComponent(id)}`);
export const report = async () => (await send('GET', 'study/report')).text();

/** The events of a streamed answer, one object each, until `[DONE]`. */
export async function* stream(path, body, signal) {
  const response = await send('POST', path, { body: JSON.stringify({ ...body, stream: true }), signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    const lines = buffer.split(/\r?\n/);
    buffer = lines.pop();
    for (const line of lines) {
      if (!line.startsWith('data:')) continue;
      const data = line.slice(5).trim();
      if (data === '[DONE]') return;
      const event = JSON.parse(data);
      if (event.error) throw new ApiError(500, event.error);
      yield event;
    }
  }
}
