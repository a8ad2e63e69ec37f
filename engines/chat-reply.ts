/**
 * A chat completion as endpoints send it: texts in one piece or in parts, reasoning under several names, refusals, ends of
 * many kinds, an error where a reply should be. Pure.
 */
import { z } from 'zod';
import type { Finish } from '../contracts/rows.js';
import { describeErrorValue, jsonText } from './error-body.js';
import { HttpError } from './http.js';
import { NotUnderstood } from './reply-body.js';

/** What is no count counts as not reported: the texts are paid for, and a second request would be, too. */
const Tokens = z.int().min(0).optional().catch(undefined);
export const Usage = z.object({ prompt_tokens: Tokens, completion_tokens: Tokens }).nullish().catch(null);
export type Usage = z.infer<typeof Usage>;

export interface Choice {
  text: string;
  finish: Finish;
  reason: string | null;
  reasoning: string;
  tokens: number | undefined;
}

type Fields = Record<string, unknown>;

/** Longer than what is shown, so that a key is whole when it is looked for. */
const BEGINNING_CHARS = 2000;
const MAX_REFUSAL_CHARS = 40;
const MAX_DEPTH = 4;

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * The choices of a reply, at most `n` of them: a hostile one may hold millions. Throws NotUnderstood, and HttpError for an
 * error that a reply without choices holds.
 */
export function readChat(value: unknown, n: number): { choices: Choice[]; usage: Usage } {
  if (!isFields(value)) throw notUnderstood('JSON of another form', value);
  const { choices, usage } = value;
  if (!Array.isArray(choices)) {
    const error = errorIn(value);
    if (error) throw error;
    throw notUnderstood('JSON without choices', value);
  }
  const read = choices.slice(0, n).map((choice) => readChoice(choice, value));
  const error = read.every(({ text, finish }) => finish === 'other' && text.trim() === '') ? errorIn(value) : null;
  if (error) throw error;
  return { choices: read, usage: Usage.parse(usage) };
}

const notUnderstood = (what: string, value: unknown) =>
  new NotUnderstood(what, jsonText(value).slice(0, BEGINNING_CHARS));

/** What codes without a status mean, and the beginnings of messages without a code. */
const STATUSES: [RegExp, number][] = [
  [/rate.?limit|too.?many.?req|throttl/i, 429],
  [/overload|unavailable|server.?error|internal|time-?d?.?out|bad.?gateway|\bloading\b/i, 503],
];
const MAX_STATUS_CHARS = 60;

/** An error inside of a reply that says it is none. */
function errorIn(value: Fields): HttpError | null {
  const resp = isFields(value.base_resp) && Number(value.base_resp.status_code) !== 0;
  const { code, success } = value;
  const isCoded = success === false || (typeof code === 'number' && code >= 400);
  const isError =
    Boolean(value.error) ||
    value.object === 'error' ||
    (Array.isArray(value.errors) && value.errors.length > 0) ||
    resp;
  if (!isError && !(isCoded && (typeof value.message === 'string' || typeof value.msg === 'string'))) return null;
  const says = describeErrorValue(value);
  const labels = [says.code, says.type, ...says.labels, says.message.slice(0, MAX_STATUS_CHARS)];
  const byLabel = STATUSES.find(([pattern]) => labels.some((label) => label !== null && pattern.test(label)))?.[1];
  return new HttpError(says.status ?? byLabel ?? 200, says);
}

function readChoice(raw: unknown, reply: unknown): Choice {
  if (!isFields(raw)) throw notUnderstood('a choice of another form', reply);
  // The form of `/completions`, and of one event of a stream.
  const message = raw.message ?? raw.delta ?? (typeof raw.text === 'string' ? { content: raw.text } : undefined);
  if (!isFields(message)) throw notUnderstood('a choice without a message', reply);
  const said = { text: '', reasoning: '', refusal: '' };
  if (!addContent(said, message.content, 0)) throw notUnderstood('a text of another form', reply);
  for (const thought of [message.reasoning_content ?? message.reasoning])
    if (typeof thought === 'string') said.reasoning += thought;
  if (typeof message.refusal === 'string') said.refusal += message.refusal;
  const broken = brokenOff(raw);
  if (broken)
    return { ...NOTHING, reasoning: said.reasoning, tokens: Tokens.parse(raw.completion_tokens), reason: broken };
  const calls = Array.isArray(message.tool_calls) && message.tool_calls.length > 0;
  const ended = endOf(said, raw.finish_reason, calls || isFields(message.function_call));
  return { text: said.text, reasoning: said.reasoning, tokens: Tokens.parse(raw.completion_tokens), ...ended };
}

interface Said {
  text: string;
  reasoning: string;
  refusal: string;
}

const NOTHING = { text: '', finish: 'other' } as const;
/** Ends by which a server says that it has failed in the middle of a text. Half a text is none. */
const BROKEN = /^(?:error|abort|cancel|network_?error|insufficient_system|time_?limit|time_?out|malformed)/;

/** The reason why a text is none; null: it ended otherwise. */
function brokenOff({ finish_reason, error }: Fields): string | null {
  if (isFields(error)) return `the endpoint broke off: ${describeErrorValue(error).message}`;
  const name = typeof finish_reason === 'string' ? finish_reason.toLowerCase().slice(0, MAX_STATUS_CHARS) : '';
  return BROKEN.test(name) ? `the endpoint broke off: ${name}` : null;
}

/** A text, parts of one, or nothing. False: something else. */
function addContent(said: Said, content: unknown, depth: number): boolean {
  if (content === null || content === undefined) return true;
  if (typeof content === 'string') {
    said.text += content;
    return true;
  }
  if (depth > MAX_DEPTH || typeof content !== 'object') return false;
  if (Array.isArray(content)) return content.every((part) => addContent(said, part, depth + 1));
  return addPart(said, content as Fields, depth);
}

function addPart(said: Said, part: Fields, depth: number): boolean {
  const type = typeof part.type === 'string' ? part.type : 'text';
  if (/think|reason/i.test(type)) {
    const thought: Said = { text: '', reasoning: '', refusal: '' };
    addContent(thought, part.thinking ?? part.reasoning ?? part.text ?? part.content, depth + 1);
    said.reasoning += thought.text;
    return true;
  }
  if (type === 'refusal') said.refusal += typeof part.refusal === 'string' ? part.refusal : '';
  // An image or a call is no text.
  if (!/text/i.test(type)) return true;
  return addContent(said, isFields(part.text) ? part.text.value : (part.text ?? part.content), depth + 1);
}

/** By the beginning of what an endpoint names as the end, in small letters. */
const ENDS: [RegExp, Finish][] = [
  [/^(stop|eos|end|complete|finish)/, 'stop'],
  [/length|max_?\w*tokens|^max/, 'length'],
  [/filter|safety|recitation|prohibited|blocklist|sensitive|spii|moderation|guardrail/, 'filtered'],
  [/refus/, 'refused'],
];
const FILTERED = 'content_filter';

function endOf(said: Said, named: unknown, calls: boolean): Pick<Choice, 'finish' | 'reason'> {
  const name = typeof named === 'string' ? named.toLowerCase().slice(0, 100) : '';
  const finish = ENDS.find(([pattern]) => pattern.test(name))?.[1] ?? 'other';
  if (said.refusal.trim() !== '') return { finish: 'refused', reason: `refusal: ${short(said.refusal)}` };
  if (finish === 'filtered') return { finish, reason: FILTERED };
  if (finish === 'refused') return { finish, reason: 'refusal' };
  if (said.text.trim() !== '') return { finish, reason: null };
  const thought = said.reasoning.trim() !== '';
  if (finish === 'length')
    return { finish, reason: thought ? 'the reasoning used up the tokens' : 'no text came before maxTokens' };
  if (calls) return { finish: 'other', reason: 'the endpoint sent a tool call, no text' };
  return { finish: 'other', reason: thought ? 'the endpoint sent reasoning, no text' : 'the endpoint sent no text' };
}

/** One line, and not half of a word where that can be avoided. */
function short(text: string): string {
  const line = text.replace(/\s+/g, ' ').trim();
  if (line.length <= MAX_REFUSAL_CHARS) return line;
  const cut = line.slice(0, MAX_REFUSAL_CHARS);
  return cut.slice(0, cut.lastIndexOf(' ') > 0 ? cut.lastIndexOf(' ') : undefined);
}
