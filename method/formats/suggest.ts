/**
 * Which `fields` would make rows readable whose names are not known. Names and values of their fields suggest some
 * mappings; each is tried on the rows, and the one that reads most of them wins. Throws nothing.
 */
import { Problem } from '../../contracts/errors.js';
import type { Fields } from '../../contracts/spec.js';
import type { DataKind } from '../../contracts/steps.js';
import type { RowPosition, UserObject } from './form.js';
import { KINDS } from './index.js';
import type { Uses } from './recognise.js';
import { isMissing } from './text.js';

/** So many of the rows that are tried must be read. */
const SHARE = 0.9;
const MOST_ROWS = 100;
const MOST_CANDIDATES = 6;
const MOST_PATHS = 200;
const DEPTH = 4;

type Mapped = 'instruction' | 'answer' | 'rationale' | 'enriched' | 'choices';

/** Words in the names of fields, the surest first. */
const WORDS: Record<Mapped, RegExp[]> = {
  instruction: [
    /question|instruction|prompt|query|problem|utterance/i,
    /stem|title|goal|request|sentence|premise|text|ctx|context|body|input|source|src|human|user|post|document/i,
  ],
  answer: [
    /answer|_ans$|target|label|gold|correct|chosen|verdict|decision/i,
    /output|completion|response|solution|reply/i,
    /result|final|tgt|out|assistant|bot|completed|summary|highlight|translation|code|content|text|value|cop\b/i,
  ],
  rationale: [/rationale|reason|thought|cot\b|chain|explanation/i, /working|steps|proof|derivation|because|solution/i],
  enriched: [/enriched|detailed|comprehensive|long/i],
  choices: [/choice|option|ending|candidate|alternative|^answers$/i],
};
/** What a field of such a name is never. */
const NEVER: Partial<Record<Mapped, RegExp>> = {
  instruction: /answer|rejected|chosen|response|completion|solution/i,
  answer:
    /prompt|instruction|query|question|context|passage|article|incorrect|wrong|reject|distractor|predict|reasoning|\b(?:is|has)_/i,
  rationale: /incorrect|wrong|reject/i,
};
/** What is about a row and not of it, unless one of the words above is in its name. */
const ABOUT =
  /(?:^|[._ -])(?:u?id|idx|ind|index|role|model|source|category|type|topic|subject|lang|language|level|difficulty|split|domain|licen[cs]e|dataset|version|date|time|url|link|path|file|name|tags?|status|method|system|title|rank|concept|turns?|score)(?:_?\d+)?[^a-z]*$/i;
/** Prose is the first row of a table without a header. */
const NO_NAME = /^\d+$|[?!.]$|.{60}|\p{C}/u;

/** What rows of each kind need, and what they may have besides. */
const PARTS: Record<DataKind, { needed: Mapped[]; optional: Mapped[] }> = {
  examples: { needed: ['instruction', 'answer'], optional: ['rationale', 'choices'] },
  catalysts: { needed: ['instruction', 'rationale', 'enriched'], optional: [] },
  questions: { needed: ['instruction', 'answer'], optional: ['choices'] },
  prompts: { needed: ['instruction'], optional: [] },
};

interface Path {
  path: string;
  /** Rows that have a value there. */
  rows: number;
  texts: Set<string>;
  isList: boolean;
}

/** null: none was found, or `fields` are good enough. `values`: some rows of the file. */
export function suggestFields(kind: DataKind, values: readonly unknown[], fields: Fields): Fields | null {
  const rows = values.slice(0, MOST_ROWS).filter(isObject);
  const share = (tried: Fields) => rows.filter((row) => isRead(kind, row, tried)).length / Math.max(1, rows.length);
  if (rows.length === 0 || share(fields) >= SHARE) return null;
  const paths = pathsOf(rows);
  const { needed, optional } = PARTS[kind];
  const open = needed.filter((part) => fields[part] === undefined);
  const named = optional.includes('choices') ? namedOnly('choices', paths) : [];
  for (const choices of [...candidates('choices', named, rows.length).map((path) => ({ choices: path })), {}]) {
    for (const mapping of mappings(open, paths, rows.length)) {
      const tried = { ...fields, ...mapping, ...choices };
      if (hasTwice(tried) || share(tried) < SHARE) continue;
      const wants = optional.includes('rationale') && rows.every((row) => !hasRationale(row, tried));
      const more = wants ? withRationale(tried, paths, rows.length) : tried;
      return share(more) >= SHARE ? more : tried;
    }
  }
  return null;
}

const isObject = (value: unknown): value is UserObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const AT: RowPosition = { file: '', line: 0 };

/** Whether the row is read, and no field is used for two things. An index may count from 1 in it. */
function isRead(kind: DataKind, row: UserObject, fields: Fields): boolean {
  return ([null, 1] as const).some((first) => isReadFrom(first, kind, row, fields));
}

function isReadFrom(first: 1 | null, kind: DataKind, row: UserObject, fields: Fields): boolean {
  let uses: Uses['parts'] = {};
  const seen = ({ parts }: Uses) => {
    uses = parts;
  };
  try {
    KINDS[kind].recognise(row, AT, fields, 'r', seen, first);
    const mapped = Object.values(fields)
      .flat()
      .map((path) => (Object.hasOwn(row, path) ? path : path.split('.')[0]!));
    const byName = Object.entries(uses).flatMap(([part, names]) => (part in fields ? [] : names));
    return !byName.some((name) => mapped.includes(name));
  } catch (error) {
    if (error instanceof Problem) return false;
    throw error;
  }
}

function hasRationale(row: UserObject, fields: Fields): boolean {
  try {
    return KINDS.examples.recognise(row, AT, fields, 'r').original !== null;
  } catch {
    return false;
  }
}

/** Every mapping of the parts to paths, the likeliest first; a part that names suffice for may stay as it is. */
function* mappings(parts: readonly Mapped[], paths: readonly Path[], rows: number): Generator<Fields> {
  const [part, ...others] = parts;
  if (part === undefined) {
    yield {};
    return;
  }
  for (const path of [null, ...candidates(part, paths, rows)]) {
    for (const rest of mappings(others, paths, rows)) yield path === null ? rest : { [part]: path, ...rest };
  }
}

function withRationale(fields: Fields, paths: readonly Path[], rows: number): Fields {
  if (fields.rationale !== undefined) return fields;
  const taken = Object.values(fields).flat();
  const found = candidates('rationale', namedOnly('rationale', paths), rows).find((path) => !taken.includes(path));
  return found === undefined ? fields : { ...fields, rationale: found };
}

const namedOnly = (part: Mapped, paths: readonly Path[]) =>
  paths.filter(({ path }) => WORDS[part].some((word) => word.test(path)));

/** By name, then by how much the values differ: an instruction is another one in every row, a category is not. */
function candidates(part: Mapped, paths: readonly Path[], rows: number): string[] {
  const scoreOf = ({ path, texts, rows: filled }: Path) => {
    const rank = WORDS[part].findIndex((word) => word.test(path));
    const byName = rank < 0 ? 0 : 2 * (WORDS[part].length - rank);
    // A place in a list leaves out the others.
    const isPlace = /\.\d+(\.|$)/.test(path) ? 1 : 0;
    const chars = [...texts].reduce((sum, text) => sum + text.length, 0) / Math.max(1, texts.size);
    const isProse = part === 'instruction' || part === 'enriched' ? Math.min(1, chars / 40) : 0;
    const isAbout = ABOUT.test(path) ? 2 : 0;
    return byName - isAbout + texts.size / rows + filled / rows + isProse - isPlace - path.length / 1000;
  };
  return paths
    .filter(({ isList, rows: filled }) => isList === (part === 'choices') && filled >= rows * SHARE)
    .filter((path) => mayBe(part, path, rows))
    .sort((a, b) => scoreOf(b) - scoreOf(a))
    .slice(0, MOST_CANDIDATES)
    .map(({ path }) => path);
}

function mayBe(part: Mapped, { path, texts }: Path, rows: number): boolean {
  const name = path.replace(/(?:\.\d+)+$/, '');
  if (part === 'rationale' && name !== path) return false;
  if (NEVER[part]?.test(name) || /_id\b|^__/i.test(name)) return false;
  return WORDS[part].some((word) => word.test(name)) || (!ABOUT.test(name) && texts.size >= rows / 2);
}

const hasTwice = (fields: Fields): boolean => {
  const paths = Object.values(fields).flat();
  // A list and a place in it are one field.
  return paths.some((path, i) => paths.some((other, j) => i !== j && `${other}.`.startsWith(`${path}.`)));
};

function pathsOf(rows: readonly UserObject[]): Path[] {
  const found = new Map<string, Path>();
  const add = (path: string, value: unknown, isList: boolean) => {
    const key = `${path}${isList ? '[]' : ''}`;
    const known = found.get(key) ?? { path, rows: 0, texts: new Set<string>(), isList };
    if (!found.has(key) && found.size >= MOST_PATHS) return;
    known.rows++;
    known.texts.add(String(value).slice(0, 200));
    found.set(key, known);
  };
  const visit = (value: unknown, path: string, depth: number): void => {
    if (isMissing(value) || depth > DEPTH || path.length > 200) return;
    // A conversation is more than one of its turns.
    if (Array.isArray(value) && isObject(value[0]) && (value[0].role ?? value[0].from) !== undefined) return;
    if (typeof value !== 'object') {
      add(path, value, false);
      return;
    }
    const isList = Array.isArray(value);
    if (isList && value.length > 1) add(path, JSON.stringify(value).slice(0, 200), true);
    // The first of several objects would stand for rows of their own, such as SQuAD's paragraphs.
    if (isList && !isObject(value[0])) visit(value[0], `${path}.0`, depth + 1);
    else if (!isList)
      for (const [name, inner] of Object.entries(value as UserObject))
        if (!NO_NAME.test(name)) visit(inner, `${path}.${name}`, depth + 1);
  };
  for (const row of rows)
    for (const [name, value] of Object.entries(row)) if (!NO_NAME.test(name)) visit(value, name, 1);
  return [...found.values()];
}
