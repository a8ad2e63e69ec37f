/**
 * Spec files: YAML or JSON, read with positions, so that a message names file, line and field. `--set a.b=value` and
 * other overrides are merged before the check. Throws file.missing, file.empty, spec.unreadable, spec.invalid.
 */
import { readFile } from 'node:fs/promises';
import { distance } from 'fastest-levenshtein';
import { type Document, isMap, isNode, LineCounter, parseDocument } from 'yaml';
import { z } from 'zod';
import { fileEmpty, fileMissing, show, specInvalid, specUnreadable } from '../contracts/errors.js';
import { deepest, explain } from '../contracts/issues.js';

/** `overrides`: dotted field -> YAML value, as `--set` gives them. */
export async function loadSpec<T>(
  file: string,
  schema: z.ZodType<T>,
  overrides: Record<string, string> = {},
): Promise<T> {
  const text = await readFile(file, 'utf8').catch((error) => {
    throw error.code === 'ENOENT'
      ? fileMissing(file)
      : specUnreadable(file, `it cannot be read (${error.code ?? error.message}).`);
  });
  if (text.trim() === '') throw fileEmpty(file);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const broken = document.errors[0];
  if (broken)
    throw specUnreadable(
      `${file}:${broken.linePos?.[0].line ?? 1}`,
      `this is not YAML or JSON (${reasonOf(broken.message)}).`,
    );
  if (!isMap(document.contents)) throw specUnreadable(file, 'a spec is a map of fields.');
  for (const [field, value] of Object.entries(overrides)) {
    setField(document, field, value);
  }
  return checkSpec(plain(document, file), schema, file, (path) => lineOf(document, lines, path), overrides);
}

/** Throws spec.unreadable for aliases that would make a small file large. */
function plain(document: Document, file: string): unknown {
  try {
    return document.toJS();
  } catch (error) {
    throw specUnreadable(file, `${(error as Error).message}.`);
  }
}

/** The parser's sentence without its position, which the message has already. */
function reasonOf(message: string): string {
  const sentence = message.split('\n')[0]!.replace(/ at line \d+, column \d+:?$/, '');
  return sentence.charAt(0).toLowerCase() + sentence.slice(1);
}

/** `file`: the name of `value` in messages. Throws spec.invalid for the first thing that is wrong. */
export function checkSpec<T>(
  value: unknown,
  schema: z.ZodType<T>,
  file: string,
  lineAt: (path: PropertyKey[]) => number | undefined = () => undefined,
  overrides: Record<string, string> = {},
): T {
  const parsed = schema.safeParse(value, { reportInput: true });
  if (parsed.success) return parsed.data;
  // A misspelt field is a missing one too: report what the user wrote.
  const { issues } = parsed.error;
  const issue = deepest(issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0]!);
  const { field, reason } = explain(issue);
  const path = issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0]!] : issue.path;
  const isSet = Object.hasOwn(overrides, field);
  const at = { file: isSet ? '--set' : file, line: isSet ? undefined : lineAt(path), field: field || undefined };
  if (issue.code !== 'unrecognized_keys') throw specInvalid(at, `${reason}.`);
  const known = knownFields(schema, issue.path);
  const near = nearest(issue.keys[0]!, known);
  throw specInvalid(at, `${reason}; ${near ? `did you mean ${show(near)}?` : `the fields are ${known.join(', ')}.`}`);
}

/** Replaces a scalar on the path (`catalysts: none`) by a map. */
function setField(document: Document, field: string, value: string): void {
  const path = field.split('.');
  const parsed = parseDocument(value);
  if (parsed.errors.length > 0)
    throw specInvalid({ file: '--set', field }, `this is not a YAML value: ${show(value)}.`);
  for (let depth = 1; depth < path.length; depth++) {
    if (!isMap(document.getIn(path.slice(0, depth), true)))
      document.setIn(path.slice(0, depth), document.createNode({}));
  }
  document.setIn(path, document.createNode(parsed.toJS()));
}

function lineOf(document: Document, lines: LineCounter, path: PropertyKey[]): number | undefined {
  for (let depth = path.length; depth > 0; depth--) {
    const parent = depth === 1 ? document.contents : document.getIn(path.slice(0, depth - 1), true);
    if (!isMap(parent)) continue;
    const pair = parent.items.find(
      (item) => isNode(item.key) && String((item.key as { value?: unknown }).value) === String(path[depth - 1]),
    );
    const range = pair && isNode(pair.key) ? pair.key.range : undefined;
    if (range) return lines.linePos(range[0]).line;
  }
  return undefined;
}

/** Names of the fields that the schema has at `path`, in any branch of a union. */
function knownFields(schema: z.ZodType, path: PropertyKey[]): string[] {
  let nodes = branches(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as JsonSchema);
  for (const key of path) nodes = nodes.flatMap(({ properties }) => branches(properties?.[String(key)]));
  return [...new Set(nodes.flatMap(({ properties }) => Object.keys(properties ?? {})))];
}

interface JsonSchema {
  properties?: Record<string, JsonSchema>;
  anyOf?: JsonSchema[];
  oneOf?: JsonSchema[];
  allOf?: JsonSchema[];
}

function branches(node: JsonSchema | undefined): JsonSchema[] {
  if (!node) return [];
  return [node, ...[node.anyOf, node.oneOf, node.allOf].flatMap((of) => of?.flatMap(branches) ?? [])];
}

function nearest(word: string, known: string[]): string | null {
  const [best] = known
    .map((name) => ({ name, far: distance(word.toLowerCase(), name.toLowerCase()) }))
    .sort((a, b) => a.far - b.far);
  return best && best.far <= Math.max(2, Math.floor(word.length / 3)) ? best.name : null;
}
