/**
 * A user's row -> a row of ours. Which field contains what is decided by the names below, unless the spec maps it under
 * `fields`; what names do not suffice for is found by a form.
 * A text is changed only so that it can be stored (lone surrogates) and loses the white space around it. Numbers, true
 * and false are read as their text. Throws data.invalid with line and field.
 */
import { type Position, Problem, rowInvalid, show } from '../../contracts/errors.js';
import type { Catalyst, Example, Message, PromptRow, Question } from '../../contracts/rows.js';
import type { Fields } from '../../contracts/spec.js';
import { withChoices } from '../graders/choice.js';
import { boxed } from './boxed.js';
import { chat, turnsOf } from './chat.js';
import { answerIndex, answerLetter, type Base, type Choices, choiceTexts } from './choices.js';
import type { Form, Found, Part, Parts, RowPosition, UserObject } from './form.js';
import { gsm8k } from './gsm8k.js';
import { instances } from './instances.js';
import { columns, stem } from './options.js';
import { isMissing, toText } from './text.js';
import { think } from './think.js';

/** All forms that fit take part, and the first of two wins; the first one that fits reads an answer. */
const FORMS: readonly Form[] = [chat, instances, stem, columns, think, gsm8k, boxed];

/** The first of these that the row has; of `input` all. Fields that are not in the list need `fields` in the spec. */
const NAMES = {
  id: ['id'],
  instruction: ['instruction', 'question', 'prompt', 'query', 'problem', 'question_stem', 'input'],
  input: ['input', 'context', 'article', 'passage', 'body'],
  rationale: ['rationale', 'reasoning', 'reasoning_content', 'thinking', 'chain_of_thought', 'explanation', 'solution'],
  answer: ['answer', 'output', 'completion', 'response', 'answerKey', 'answer_idx', 'target', 'solution', 'chosen'],
  enriched: ['enriched'],
  skills: ['skills'],
  choices: ['choices', 'options'],
  // Nothing is read from it unless the spec maps it: names of sources are as many as data sets.
  source: [],
} satisfies Record<keyof Fields, string[]>;

/** Where there are choices: what names one comes before what may be its text. */
const CHOICE_ANSWERS = [
  ...['answerKey', 'answer_idx', 'answer', 'answer_index', 'label', 'correct', 'correct_option', 'correct_answer'],
  ...['cop', 'gold', 'target', 'output'],
];
const SYSTEM = ['system', 'system_prompt'];
const HISTORY = 'history';

/** A text that a question is about is read before it; an instruction comes before what it is applied to. */
const READ_FIRST = ['context', 'article', 'passage', 'body'];

/** All names but that of the id, which must be unique: what only looks like one need not be. */
const KNOWN = new Set(
  Object.entries({ ...NAMES, choiceAnswers: CHOICE_ANSWERS, system: SYSTEM }).flatMap(([part, names]) =>
    part === 'id' ? [] : names,
  ),
);
const KNOWN_BY_LOWER = new Map([...KNOWN].map((name) => [name.toLowerCase(), name]));
/** Spaces, and what editors and spreadsheets leave around a name without showing it. */
const AROUND_NAME = /^[\s\u200b-\u200d\u2060\ufeff]+|[\s\u200b-\u200d\u2060\ufeff]+$/g;

/** Alpaca and its successors write these where there is no input. */
const NO_INPUT = /^[<([]?\s*no[\s_-]*input\s*[>)\]]?\.?$|^n\/a$/i;

/** Which fields a row was read from, by part, and which fields hold something that nothing was read from. */
export interface Uses {
  parts: Partial<Record<Part | 'system', readonly string[]>>;
  unused: readonly string[];
}
export type Seen = (uses: Uses) => void;

/** `first`: what the indices of the file's answers count from; null: nothing shows it. */
export function toExample(
  value: unknown,
  at: RowPosition,
  fields: Fields,
  fallbackId: string,
  seen?: Seen,
  first: Base | null = null,
): Example {
  const row = new UserRow(value, at, fields);
  const id = idOf(row, fallbackId);
  const choices = choicesOf(row);
  const asked = promptOf(row, choices);
  const { rationale, answer } = choices ? choiceOf(row, choices, first) : answerOf(row);
  const source = fields.source === undefined ? null : row.optional('source');
  seen?.(row.uses());
  const example = { id, ...asked, original: rationale, rationale: rationale ?? '', answer, origin: null };
  return source === null ? example : { ...example, source };
}

export function toCatalyst(
  value: unknown,
  at: RowPosition,
  fields: Fields,
  fallbackId: string,
  seen?: Seen,
  first: Base | null = null,
): Catalyst {
  const row = new UserRow(value, at, fields);
  const choices = choicesOf(row);
  const { instruction } = promptOf(row, choices);
  const hasAnswer = !isMissing(row.find('answer').value);
  const given = hasAnswer ? (choices ? choiceOf(row, choices, first) : answerOf(row)) : null;
  const catalyst = {
    id: idOf(row, fallbackId),
    instruction,
    rationale: given?.rationale ?? row.required('rationale'),
    enriched: row.required('enriched'),
    skills: skillsOf(row),
    answer: given?.answer ?? null,
  };
  seen?.(row.uses());
  return catalyst;
}

export function toQuestion(
  value: unknown,
  at: RowPosition,
  fields: Fields,
  fallbackId: string,
  seen?: Seen,
  first: Base | null = null,
): Question {
  const row = new UserRow(value, at, fields);
  const { instruction: question, turns } = promptOf(row, null);
  const choices = choicesOf(row);
  const { answer } = choices ? choiceOf(row, choices, first) : answerOf(row);
  const id = idOf(row, fallbackId);
  seen?.(row.uses(['rationale']));
  return { id, question, turns, choices: choices?.texts ?? null, answer };
}

export function toPromptRow(
  value: unknown,
  at: RowPosition,
  fields: Fields,
  fallbackId: string,
  seen?: Seen,
): PromptRow {
  const row = new UserRow(value, at, fields, 'prompt');
  const prompt = { id: idOf(row, fallbackId), ...promptOf(row, choicesOf(row)) };
  seen?.(row.uses(['answer', 'rationale', 'enriched', 'skills']));
  return prompt;
}

/** The index that a row's answer is, and how many choices it has; null: its answer does not count, or it is unusable. */
export function indexOf(value: unknown, fields: Fields): { index: number; choices: number } | null {
  try {
    const row = new UserRow(value, { file: '', line: 0 }, fields);
    const choices = choicesOf(row);
    const index = choices && answerIndex(row.find('answer', CHOICE_ANSWERS).value, choices);
    return choices && index !== null ? { index, choices: choices.texts.length } : null;
  } catch (error) {
    if (error instanceof Problem) return null;
    throw error;
  }
}

const idOf = (row: UserRow, fallbackId: string) => {
  const { value } = row.find('id');
  return typeof value === 'string' || typeof value === 'number' ? (row.optional('id') ?? fallbackId) : fallbackId;
};

const choicesOf = (row: UserRow): Choices | null => {
  const { name, value } = row.find('choices');
  return isMissing(value) ? null : choiceTexts(value, row.at(name));
};

// --- what is asked ----------------------------------------------------------------------------------------------------
/** `choices`: null where another function lists them. */
function promptOf(row: UserRow, choices: Choices | null): { instruction: string; turns: Message[] | null } {
  const asked = row.required('instruction');
  const readFirst = row.isInstruction() ? [] : READ_FIRST;
  const texts = row.inputs().filter(({ text }) => !NO_INPUT.test(text));
  const [above, below] = [true, false].map((first) =>
    texts.filter(({ known, isMapped }) => (!isMapped && readFirst.includes(known)) === first).map(({ text }) => text),
  );
  const whole = [...above!, asked, ...below!].join('\n\n');
  const last = { role: 'user' as const, content: choices ? withChoices(whole, choices.texts) : whole };
  const turns = merged([...row.before(), last]);
  return { instruction: flat(turns), turns: turns.length > 1 ? turns : null };
}

/** One system message, at the start; turns of one speaker that follow each other are one turn. */
function merged(turns: readonly Message[]): Message[] {
  const list: Message[] = [];
  const inOrder = [...turns.filter(({ role }) => role === 'system'), ...turns.filter(({ role }) => role !== 'system')];
  for (const { role, content } of inOrder) {
    const last = list.at(-1);
    if (last?.role === role) last.content += `\n\n${content}`;
    else list.push({ role, content });
  }
  return list;
}

const SPEAKERS: Record<string, string> = { user: 'User', assistant: 'Assistant' };

/** All turns as one text, for guards, enrichment and displays. A single user turn is unchanged. */
function flat(turns: readonly Message[]): string {
  const system = turns.filter(({ role }) => role === 'system').map(({ content }) => `${content}\n\n`);
  const spoken = turns.filter(({ role }) => role !== 'system');
  const lines = spoken.map(({ role, content }) => `${SPEAKERS[role]}: ${content}`);
  return system.join('') + (spoken.length === 1 ? spoken[0]!.content : lines.join('\n'));
}

// --- what is answered -------------------------------------------------------------------------------------------------
/**
 * A rationale in a field of its own takes precedence over one that is part of the answer; but what a reply has thought is
 * the rationale of this reply, and a field that is not named for one (`solution`) may be of another.
 */
function answerOf(row: UserRow): { rationale: string | null; answer: string } {
  const text = row.required('answer');
  const parts = firstOf((form) => form.answer?.(text));
  const isThought = parts?.rationale != null && think.answer!(text) !== null;
  const rationale = isThought && !row.namesRationale() ? null : row.optional('rationale');
  if (parts?.answer === '') {
    const at = row.at(row.find('answer').name);
    throw rowInvalid(at, 'expected an answer after the reasoning, found nothing.');
  }
  const bare = isThought ? boxed.answer!(parts.answer) : null;
  const answer = bare?.rationale === null ? bare.answer : (parts?.answer ?? text);
  return { rationale: rationale ?? parts?.rationale ?? null, answer };
}

function choiceOf(row: UserRow, choices: Choices, first: Base | null): { rationale: string | null; answer: string } {
  const { name, value } = row.find('answer', CHOICE_ANSWERS);
  return { rationale: row.optional('rationale'), answer: answerLetter(value, choices, row.at(name), first) };
}

function skillsOf(row: UserRow): string[] {
  const { name, value } = row.find('skills');
  if (isMissing(value)) return [];
  const skills = typeof value === 'string' ? value.split(',') : value;
  if (!Array.isArray(skills)) throw rowInvalid(row.at(name), `expected a list of texts, found ${show(value)}.`);
  return skills.map((skill) => toText(skill, row.at(name)).trim()).filter((skill) => skill !== '');
}

function firstOf<T>(read: (form: Form) => T | null | undefined): T | null {
  for (const form of FORMS) {
    const found = read(form);
    if (found) return found;
  }
  return null;
}

// --- the row ----------------------------------------------------------------------------------------------------------
class UserRow {
  private readonly row: UserObject;
  private readonly parts: Parts;
  private readonly used = new Map<Part | 'system', readonly string[]>();
  /** Known names that the row has in other letters (`Question`): what it has there. */
  private readonly aliases = new Map<string, string>();

  constructor(
    value: unknown,
    private readonly position: RowPosition,
    private readonly fields: Fields,
    wanted: 'answer' | 'prompt' = 'answer',
  ) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw rowInvalid(position, `expected an object, found ${show(value)}.`);
    }
    this.row = value as UserObject;
    for (const name of Object.keys(this.row)) {
      const known = KNOWN.has(name) ? undefined : KNOWN_BY_LOWER.get(name.replace(AROUND_NAME, '').toLowerCase());
      if (known !== undefined && !Object.hasOwn(this.row, known)) this.aliases.set(known, name);
    }
    const forms = FORMS.map((form) => form.row?.(this.row, { at: position, fields, wanted }) ?? {});
    this.parts = Object.assign({}, ...forms.reverse());
  }

  at(field: string): Position {
    return { ...this.position, field };
  }

  /** By the spec, by a form, or by the names. */
  find(part: Exclude<keyof Fields, 'input'> | 'input', names: readonly string[] = NAMES[part]): Found {
    const found = this.mapped(part)[0] ?? this.parts[part] ?? this.named(part, names);
    if (!isMissing(found.value)) this.used.set(part, found.fields);
    return found;
  }

  /** Whether the spec maps a rationale, or a field has that very name. */
  namesRationale(): boolean {
    return this.fields.rationale !== undefined || this.named('rationale', ['rationale']).value !== undefined;
  }

  /** A text that is called so comes before what it is applied to. */
  isInstruction(): boolean {
    return [this.nameOf('instruction'), 'instruction'].includes(this.find('instruction').name);
  }

  /** The name of a known field in this row. */
  private nameOf(known: string): string {
    return this.aliases.get(known) ?? known;
  }

  /** The texts that belong to the instruction. What only its name makes one of them must be a text. */
  inputs(): { known: string; text: string; isMapped: boolean }[] {
    const mapped = this.mapped('input');
    const asked = this.find('instruction');
    const isConversation = this.parts.before !== undefined || asked.name.includes('[');
    const byName = (isConversation && !this.parts.input ? [] : NAMES.input)
      .filter((name) => name === 'input' || typeof this.row[this.nameOf(name)] === 'string')
      .map((name) => this.named('input', [name]));
    const found = mapped.length > 0 ? mapped : this.parts.input ? [this.parts.input] : byName;
    const given = found.filter(
      ({ name, fields, value }) =>
        name !== asked.name && !isMissing(value) && (mapped.length > 0 || !this.isPrompt(fields)),
    );
    if (given.length > 0)
      this.used.set(
        'input',
        given.flatMap(({ fields }) => fields),
      );
    return given.map(({ name, value }) => ({
      known: NAMES.input.find((known) => this.nameOf(known) === name) ?? name,
      text: textOf(value, this.at(name)),
      isMapped: mapped.length > 0,
    }));
  }

  /** A list of turns under the name of an input is the conversation itself. */
  private isPrompt(fields: readonly string[]): boolean {
    return this.parts.instruction !== undefined && fields[0] === this.parts.instruction.fields[0];
  }

  /** The turns that precede the instruction. */
  before(): Message[] {
    const turns = (this.parts.before?.value as Message[] | undefined) ?? this.history();
    if (this.parts.before) this.used.set('before', this.parts.before.fields);
    if (turns.some(({ role }) => role === 'system')) return turns;
    const names = SYSTEM.map((name) => this.nameOf(name));
    const name = names.find((name) => typeof this.row[name] === 'string' && !isMissing(this.row[name]));
    if (name === undefined || this.isTaken(name)) return turns;
    this.used.set('system', [name]);
    return [{ role: 'system', content: toText(this.row[name], this.at(name)).trim() }, ...turns];
  }

  /** Earlier turns, as pairs of user and assistant or as messages. */
  private history(): Message[] {
    const list = Object.hasOwn(this.row, HISTORY) ? this.row[HISTORY] : undefined;
    if (!Array.isArray(list) || list.length === 0 || this.isTaken(HISTORY)) return [];
    this.used.set('before', [HISTORY]);
    if (!Array.isArray(list[0]))
      return turnsOf(this.row, HISTORY, this.position).map(({ role, content }) => ({ role, content }));
    return list.flatMap((pair, i) => {
      if (!Array.isArray(pair) || pair.length !== 2) {
        throw rowInvalid(this.at(`${HISTORY}[${i}]`), `expected a pair of texts, found ${show(pair)}.`);
      }
      const [user, assistant] = pair.map((text, j) => toText(text, this.at(`${HISTORY}[${i}][${j}]`)));
      return [
        { role: 'user' as const, content: user! },
        { role: 'assistant' as const, content: assistant! },
      ];
    });
  }

  /** A mapped field has the use that the spec gives it. */
  private isTaken(name: string): boolean {
    return Object.values(this.fields).flat().includes(name);
  }

  private mapped(part: keyof Fields): Found[] {
    const paths = this.fields[part] ?? [];
    return (typeof paths === 'string' ? [paths] : paths).map((path) => atPath(this.row, path));
  }

  private named(part: keyof Fields, names: readonly string[]): Found {
    const all = names.map((name) => this.nameOf(name));
    const present = all.filter((name, i) => Object.hasOwn(this.row, name) && this.mayBe(part, name, names[i]!));
    const name = present.find((name) => !isMissing(this.row[name])) ?? present[0] ?? part;
    return { name, fields: [name], value: present.length > 0 ? this.row[name] : undefined };
  }

  /** Names that data sets use for other things, too: a rationale is a text, and no answer. */
  private mayBe(part: keyof Fields, name: string, known: string): boolean {
    if (part !== 'rationale' || known === 'rationale') return true;
    const text = this.row[name];
    if (typeof text !== 'string' || this.find('answer').name === name || this.isTaken(name)) return false;
    // The reply of a conversation is a solution already. A switch of the model that wrote it is no text about the answer.
    return !(known === 'solution' && this.parts.answer) && !/^(?:on|off)$/i.test(text.trim());
  }

  /** null: absent, null, or nothing but white space. */
  optional(part: Exclude<keyof Fields, 'input'>): string | null {
    const { name, value } = this.find(part);
    return isMissing(value) ? null : toText(value, this.at(name)).trim() || null;
  }

  required(part: Exclude<keyof Fields, 'input'>): string {
    const { name, value } = this.find(part);
    if (value === undefined) {
      const names = Object.keys(this.row);
      const has = names.length > 0 ? `has ${cut(names.join(', '))}; the spec can map them under fields` : 'is empty';
      throw rowInvalid(this.at(name), `expected text, found nothing (the row ${has}).`);
    }
    const text = isMissing(value) ? '' : toText(value, this.at(name)).trim();
    if (text === '') throw rowInvalid(this.at(name), `expected text, found ${show(value)}.`);
    return text;
  }

  /** `needless`: parts that rows of this kind have no use for. Their fields are not reported as unused. */
  uses(needless: readonly (keyof Fields)[] = []): Uses {
    const found = needless.flatMap((part) => [
      ...(this.parts[part] ?? this.mapped(part)[0] ?? EMPTY).fields,
      ...NAMES[part],
    ]);
    const known = new Set([...[...this.used.values()].flat(), ...found]);
    const unused = Object.keys(this.row).filter((name) => !known.has(name) && !isEmpty(this.row[name]));
    return { parts: Object.fromEntries(this.used), unused: [...unused, ...this.unusedBeside()] };
  }

  /** What is in the objects that mapped paths lead through, and no path leads to. */
  private unusedBeside(): string[] {
    const paths = Object.values(this.fields).flat();
    const nested = paths.filter((path) => path.includes('.') && !Object.hasOwn(this.row, path));
    const used = nested.flatMap((path) => path.split('.').map((_, i, steps) => steps.slice(0, i + 1).join('.')));
    const found = used.flatMap((path) => {
      const { value } = atPath(this.row, path);
      if (typeof value !== 'object' || value === null || Array.isArray(value) || paths.includes(path)) return [];
      return Object.entries(value).flatMap(([name, inner]) => (isEmpty(inner) ? [] : [`${path}.${name}`]));
    });
    return [...new Set(found)].filter((path) => !used.includes(path));
  }
}

/** Paragraphs of a text may be a list, in lists of their documents. */
function textOf(value: unknown, at: Position): string {
  if (!Array.isArray(value)) return toText(value, at).trim();
  return value
    .filter((item) => !isMissing(item))
    .map((item) => textOf(item, at))
    .join('\n');
}

const EMPTY: Found = { name: '', fields: [], value: undefined };

const isEmpty = (value: unknown): boolean =>
  isMissing(value) || (typeof value === 'object' && Object.keys(value as object).length === 0);

/** A field of that very name, or else what the path leads to; in a list a name leads to that of each item. */
function atPath(row: UserObject, path: string): Found {
  if (Object.hasOwn(row, path) || !path.includes('.')) {
    return { name: path, fields: [path], value: Object.hasOwn(row, path) ? row[path] : undefined };
  }
  const steps = path.split('.');
  return { name: path, fields: [steps[0]!], value: steps.reduce<unknown>(step, row) };
}

function step(value: unknown, name: string): unknown {
  if (Array.isArray(value)) {
    if (/^\d{1,4}$/.test(name)) return value[Number(name)];
    const inner = value.map((item) => step(item, name));
    return inner.some((item) => item === undefined) ? undefined : inner;
  }
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
  return (value as UserObject)[name];
}

const cut = (text: string) => (text.length > 100 ? `${text.slice(0, 97)}...` : text);
