/**
 * Conversations -> the turns before the reply, and the reply: `messages` (role, content), ShareGPT's `conversations`
 * (from, value), and TRL's `prompt` and `completion` where they are lists of turns. The last assistant turn that is
 * trained on (`weight` is not 0) is the answer. Where only a prompt is wanted and the user speaks last, the whole
 * conversation is the prompt.
 * Throws data.invalid for an item that is not a message of text, and for a reply that follows no user turn.
 */
import { rowInvalid, show } from '../../contracts/errors.js';
import type { Message } from '../../contracts/rows.js';
import {
  before,
  type Form,
  type Found,
  type Parts,
  type RowContext,
  type RowPosition,
  type UserObject,
} from './form.js';
import { toText } from './text.js';

const LISTS = ['messages', 'conversations', 'conversation'];
/** Lists of nothing but texts, which user and assistant say in turns: LIMA, UltraChat, DailyDialog. */
const TEXT_LISTS = ['conversations', 'conversation', 'dialog', 'dialogue', 'data'];
/** An item that has both of a pair is two turns: Capybara, MOSS. */
const PAIRS = [
  ['input', 'output'],
  ['human', 'assistant'],
  ['user', 'assistant'],
  ['question', 'answer'],
  ['prompt', 'response'],
] as const;

const ROLES: Record<string, Message['role']> = {
  ...{ system: 'system', developer: 'system', user: 'user', human: 'user' },
  ...{ assistant: 'assistant', gpt: 'assistant', chatgpt: 'assistant', bing: 'assistant', bard: 'assistant' },
  model: 'assistant',
};

/** The names under which a message has its reasoning, which is the rationale of its answer. */
const REASONING = ['reasoning_content', 'reasoning', 'thinking'];

interface Turn extends Message {
  /** Where its text is. */
  name: string;
  field: string;
  reasoning: string | null;
  isTrained: boolean;
}

export const chat: Form = {
  row(row, context) {
    // A spec that names the field of the instruction wants that field, not the conversation.
    if (context.fields.instruction !== undefined) return null;
    const name = LISTS.find((list) => Array.isArray(row[list])) ?? TEXT_LISTS.find((list) => isTexts(row[list]));
    if (name !== undefined) return conversation(turnsOf(row, name, context.at), name, context);
    const reply = ['completion', 'chosen'].find((list) => isTurns(row[list]));
    const asked = ['prompt', 'input'].find((list) => isTurns(row[list]));
    // A preference pair may repeat the prompt in its better reply.
    const isWhole = reply !== undefined && roleOf((row[reply] as UserObject[])[0]!) === 'user';
    if (asked === undefined && !isWhole) return null;
    const turns = [asked, reply].filter((list) => list !== undefined && !(isWhole && list === asked));
    return conversation(
      turns.flatMap((list) => turnsOf(row, list!, context.at)),
      turns[0]!,
      context,
    );
  },
};

const isTexts = (value: unknown): boolean =>
  Array.isArray(value) && value.length > 1 && value.every((item) => typeof item === 'string');
const isTurns = (value: unknown): boolean =>
  Array.isArray(value) && value.length > 0 && value.every((item) => isObject(item) && roleOf(item) !== undefined);
const isObject = (value: unknown): value is UserObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const roleOf = ({ role, from }: UserObject): Message['role'] | undefined => {
  const speaker = role ?? from;
  return typeof speaker === 'string' ? ROLES[speaker.toLowerCase()] : undefined;
};

/** Turns of a list of messages. */
export function turnsOf(row: UserObject, field: string, at: RowPosition): Turn[] {
  const list = row[field] as unknown[];
  const isAlternate = TEXT_LISTS.includes(field) && isTexts(list);
  return list.flatMap((message, i) => {
    const name = `${field}[${i}]`;
    const speaker = i % 2 === 0 ? 'user' : 'assistant';
    if (isAlternate) return turnOf({ role: speaker, content: message }, field, name, at);
    const pair = PAIRS.find((names) => isObject(message) && names.every((one) => typeof message[one] === 'string'));
    if (!pair || (message as UserObject).role !== undefined) return turnOf(message, field, name, at);
    return pair.map((one, j) => {
      const content = (message as UserObject)[one];
      return turnOf({ role: j === 0 ? 'user' : 'assistant', content }, field, name, at);
    });
  });
}

function turnOf(message: unknown, field: string, name: string, at: RowPosition): Turn {
  if (typeof message !== 'object' || message === null || Array.isArray(message)) {
    throw rowInvalid({ ...at, field: name }, `expected a message with role and content, found ${show(message)}.`);
  }
  const given = message as UserObject;
  const [speaker, text] =
    given.from !== undefined && given.role === undefined ? ['from', 'value'] : ['role', 'content'];
  const role = typeof given[speaker] === 'string' ? ROLES[given[speaker].toLowerCase()] : undefined;
  if (!role) {
    const found = show(given[speaker]);
    throw rowInvalid({ ...at, field: `${name}.${speaker}` }, `expected system, user or assistant, found ${found}.`);
  }
  const content = contentOf(given[text], { ...at, field: `${name}.${text}` });
  const reasoning = REASONING.map((key) => given[key]).find(
    (value) => typeof value === 'string' && value.trim() !== '',
  );
  return {
    role,
    content: content.text,
    name: `${name}.${text}`,
    field,
    reasoning: (reasoning as string | undefined) ?? content.reasoning,
    isTrained: given.weight !== 0,
  };
}

/** A text, or parts of which each has a text or a reasoning. */
function contentOf(value: unknown, at: RowPosition & { field: string }): { text: string; reasoning: string | null } {
  if (!Array.isArray(value)) return { text: toText(value, at), reasoning: null };
  const texts: Record<'text' | 'thinking', string[]> = { text: [], thinking: [] };
  for (const [i, part] of value.entries()) {
    const field = `${at.field}[${i}]`;
    const { type, ...rest } = (typeof part === 'string' ? { type: 'text', text: part } : (part ?? {})) as UserObject;
    const kind = type === 'thinking' || type === 'reasoning' ? 'thinking' : 'text';
    if (kind === 'text' && type !== 'text' && type !== 'input_text' && type !== 'output_text') {
      throw rowInvalid({ ...at, field: `${field}.type` }, `expected "text", found ${show(type)}: only texts are read.`);
    }
    texts[kind].push(toText(rest[kind] ?? rest.text, { ...at, field }));
  }
  return { text: texts.text.join(''), reasoning: texts.thinking.join('\n') || null };
}

function conversation(turns: readonly Turn[], list: string, { at, wanted }: RowContext): Parts {
  const answerAt = turns.findLastIndex(({ role, isTrained }) => role === 'assistant' && isTrained);
  const isWhole = wanted === 'prompt' && turns.at(-1)?.role === 'user';
  // Without a reply, the answer may be a field of its own.
  const asked = isWhole || answerAt < 0 ? untilUser(turns) : turns.slice(0, answerAt);
  const answer = isWhole ? undefined : turns[answerAt];
  const last = asked.at(-1);
  if (answer && last?.role !== 'user') {
    const found = last ? `a turn of the ${last.role}` : 'nothing';
    throw rowInvalid({ ...at, field: answer.name }, `expected a user turn before the answer, found ${found}.`);
  }
  if (!last) return {};
  return {
    instruction: found(last, last.content),
    ...before(
      list,
      asked.slice(0, -1).map(({ role, content }) => ({ role, content })),
    ),
    ...(answer ? { answer: found(answer, answer.content) } : {}),
    ...(answer?.reasoning ? { rationale: found(answer, answer.reasoning) } : {}),
  };
}

/** A turn that is not trained on, and follows the last user turn, is no part of the prompt. */
const untilUser = (turns: readonly Turn[]) => turns.slice(0, turns.findLastIndex(({ role }) => role === 'user') + 1);

const found = ({ name, field }: Turn, value: string): Found => ({ name, fields: [field], value });
