/**
 * Spec files: YAML or JSON, read with positions, so that a message names file, line and field. `--set a.b=value` and
 * other overrides are merged before the check.
 * Throws file.missing, file.empty, file.not-utf8, spec.unreadable, spec.invalid.
 */
import { open } from 'node:fs/promises';
import { distance } from 'fastest-levenshtein';
import { Document, isMap, isNode, isScalar, LineCounter, parseDocument, visit } from 'yaml';
import { z } from 'zod';
import {
  fileEmpty,
  fileMissing,
  fileNotText,
  Problem,
  show,
  specInvalid,
  specUnreadable,
} from '../contracts/errors.js';
import { deepest, explain } from '../contracts/issues.js';
import { notAFile } from '../storage/files.js';

/** More than five texts of the largest legal size, and less than takes the parser a minute. */
const MAX_BYTES = 4 * 2 ** 20;

/** `overrides`: dotted field -> YAML value, as `--set` gives them. */
export async function loadSpec<T>(
  file: string,
  schema: z.ZodType<T>,
  overrides: Record<string, string> = {},
): Promise<T> {
  return (await loadWithLines(file, schema, overrides)).spec;
}

export type LineAt = (path: PropertyKey[]) => number | undefined;

/** The same, with the line of each field, for a message about what only another check can find. */
export async function loadWithLines<T>(
  file: string,
  schema: z.ZodType<T>,
  overrides: Record<string, string> = {},
): Promise<{ spec: T; lineAt: LineAt }> {
  const text = textOf(file, await bytesOf(file));
  if (text.trim() === '') throw fileEmpty(file);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, logLevel: 'error', uniqueKeys: false });
  // A warning is a tag or a directive that the parser ignores, and its user meant something by it.
  const broken = document.errors[0] ?? document.warnings[0];
  if (broken)
    throw specUnreadable(
      `${file}:${broken.linePos?.[0].line ?? 1}`,
      `this is not YAML or JSON (${reasonOf(broken.message)}).`,
    );
  if (!isMap(document.contents)) throw specUnreadable(file, 'a spec is a map of fields.');
  const twice = repeatedKey(document);
  if (twice) throw specUnreadable(`${file}:${lines.linePos(twice.at).line}`, `${show(twice.key)} is there twice.`);
  for (const [field, value] of Object.entries(overrides)) {
    setField(document, field, value);
  }
  const lineAt: LineAt = (path) => lineOf(document, lines, path);
  return { spec: checkSpec(plain(document, file), schema, file, lineAt, overrides), lineAt };
}

/** A spec that a command puts together; `overrides` as above. */
export function builtSpec<T>(value: object, schema: z.ZodType<T>, overrides: Record<string, string> = {}): T {
  const document = new Document(value);
  for (const [field, given] of Object.entries(overrides)) setField(document, field, given);
  return checkSpec(plain(document, '--set'), schema, 'options', undefined, overrides);
}

/** The parser's own check takes as long as the square of the number of keys. */
function repeatedKey(document: Document): { key: string; at: number } | null {
  let found: { key: string; at: number } | null = null;
  visit(document, {
    Map(_, { items }) {
      const keys = new Set<string>();
      for (const { key } of items) {
        if (!isScalar(key)) continue;
        const text = String(key.value);
        found ??= keys.has(text) ? { key: text, at: key.range?.[0] ?? 0 } : null;
        keys.add(text);
      }
      return found ? visit.BREAK : undefined;
    },
  });
  return found;
}

/** A pipe is read to its end, a device never. */
async function bytesOf(path: string): Promise<Buffer> {
  try {
    const file = await open(path);
    try {
      const problem = notAFile(await file.stat());
      if (problem) throw specUnreadable(path, problem);
      const parts: Buffer[] = [];
      let bytes = 0;
      for await (const part of file.createReadStream({ autoClose: false })) {
        parts.push(part);
        bytes += part.length;
        if (bytes > MAX_BYTES) throw specUnreadable(path, `a spec is at most ${MAX_BYTES / 2 ** 20} MB.`);
      }
      return Buffer.concat(parts);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof Problem) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw code === 'ENOENT' ? fileMissing(path) : specUnreadable(path, `it cannot be read (${code ?? message}).`);
  }
}

/** A character that is guessed would be in every prompt. */
function textOf(file: string, bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw fileNotText(file);
  }
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
  if (/call stack/.test(message)) return 'it is nested too deeply';
  if (/multiple documents/.test(message)) return 'it holds more than one document';
  const sentence = message.split('\n')[0]!.replace(/ at line \d+, column \d+:?$/, '');
  return sentence.charAt(0).toLowerCase() + sentence.slice(1);
}

/** `file`: the name of `value` in messages. Throws spec.invalid for the first thing that is wrong. */
export function checkSpec<T>(
  value: unknown,
  schema: z.ZodType<T>,
  file: string,
  lineAt: LineAt = () => undefined,
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
  const parsed = yamlValue(value);
  if (parsed === undefined) throw specInvalid({ file: '--set', field }, `this is not a YAML value: ${show(value)}.`);
  for (let depth = 1; depth < path.length; depth++) {
    if (!isMap(document.getIn(path.slice(0, depth), true)))
      document.setIn(path.slice(0, depth), document.createNode({}));
  }
  document.setIn(path, document.createNode(parsed));
}

/** undefined: it is not one. Anchors and aliases are read, and may be wrong, only when the value is made. */
export function yamlValue(text: string): unknown {
  try {
    const document = parseDocument(text, { logLevel: 'error' });
    return document.errors.length + document.warnings.length > 0 ? undefined : document.toJS();
  } catch {
    return undefined;
  }
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
  for (const key of path)
    nodes = nodes.flatMap((node) => branches(node.properties?.[String(key)] ?? node.additionalProperties));
  // A map by name may take some names only.
  const named = nodes.flatMap(({ properties, propertyNames }) => [
    ...Object.keys(properties ?? {}),
    ...(propertyNames?.enum ?? []),
  ]);
  return [...new Set(named)];
}

interface JsonSchema {
  properties?: Record<string, JsonSchema>;
  propertyNames?: { enum?: string[] };
  /** What the values of a map by name are; `false` where there are no others. */
  additionalProperties?: JsonSchema;
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
