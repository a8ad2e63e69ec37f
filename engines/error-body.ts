/**
 * What the body of an error says, whichever of the usual forms it has: OpenAI's `error` object, a list around it
 * (Gemini), a sentence (`error`, `detail`, `message`), FastAPI's list of details, Azure's inner error, OpenRouter's
 * error of the provider behind it. Pure.
 */

export class ErrorReply {
  constructor(
    readonly message: string,
    readonly code: string | null = null,
    readonly type: string | null = null,
    /** The field of the request that is wrong. */
    readonly param: string | null = null,
    /** Further codes and reasons. */
    readonly labels: readonly string[] = [],
    /** An HTTP status that the body names. */
    readonly status: number | null = null,
  ) {}

  static of(message: string): ErrorReply {
    return new ErrorReply(message);
  }
}

type Fields = Record<string, unknown>;

/** Deeper than any of the forms. */
const MAX_DEPTH = 6;
const MAX_LABELS = 10;

const isFields = (value: unknown): value is Fields => typeof value === 'object' && value !== null;
const asText = (value: unknown): string | null => (typeof value === 'string' && value !== '' ? value : null);

/** Without a sentence in it, the body itself is the message. */
export function describeError(text: string): ErrorReply {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    // Not JSON, perhaps the page of a proxy.
    return ErrorReply.of(titleOf(text) ?? text);
  }
  return describeErrorValue(body);
}

/** What a page is about; null: it is none, or does not say so. */
function titleOf(text: string): string | null {
  const title =
    /^\s*</.test(text) && /<title[^>]{0,100}>([^<]{1,200})<\/title>/i.exec(text.slice(0, 4000))?.[1]?.trim();
  return title ? `a page with the title "${title}"` : null;
}

export function describeErrorValue(body: unknown): ErrorReply {
  const found = { messages: [] as string[], labels: [] as string[] } as Found;
  collect(body, found, 0);
  const { messages, labels, code = null, type = null, param = null, status = null } = found;
  // Not the text as it came, in which escapes might hide a key.
  const message = messages.length > 0 ? [...new Set(messages)].join(': ') : jsonText(body);
  return new ErrorReply(message, code, type, param, labels.slice(0, MAX_LABELS), status);
}

/** A value that came from a server, again as JSON. It may be nested too deeply for that. */
export function jsonText(value: unknown): string {
  try {
    return JSON.stringify(value) ?? '';
  } catch {
    return '';
  }
}

interface Found {
  messages: string[];
  labels: string[];
  code?: string;
  type?: string;
  param?: string;
  status?: number;
}

/** The outer object is read first: what it says comes first, and its code counts. */
function collect(value: unknown, found: Found, depth: number): void {
  if (depth > MAX_DEPTH) return;
  if (typeof value === 'string' && depth > 0) {
    if (value !== '') found.messages.push(value);
    return;
  }
  if (Array.isArray(value)) {
    collect(value[0], found, depth + 1);
    return;
  }
  if (!isFields(value)) return;
  const { code, status, status_code } = value;
  for (const number of [code, status, status_code, Number(code)])
    if (typeof number === 'number' && number >= 400 && number < 600) found.status ??= number;
  const place = Array.isArray(value.loc) ? value.loc.at(-1) : undefined;
  const named = asText(value.param) ?? asText(place);
  if (named) found.param ??= named;
  for (const label of [code, value.type, value.error_type, value.status, ...reasonsOf(value)]) {
    const text = asText(label);
    if (text) found.labels.push(text);
  }
  if (asText(code)) found.code ??= asText(code)!;
  const type = asText(value.type) ?? asText(value.error_type);
  if (type) found.type ??= type;
  const message = [value.message, value.msg, value.error_message, value.status_msg].map(asText).find((text) => text);
  if (message) found.messages.push(place === undefined ? message : `${place}: ${message}`);
  for (const inner of [value.error, value.errors, value.detail, value.base_resp]) collect(inner, found, depth + 1);
  for (const inner of [value.innererror, value.inner_error, value.metadata]) collectLabels(inner, found, depth + 1);
}

const reasonsOf = (value: Fields): unknown[] => (Array.isArray(value.reasons) ? value.reasons : []);

/** Codes of Azure's inner errors, reasons of a moderation, and what the provider behind a router said. */
function collectLabels(value: unknown, found: Found, depth: number): void {
  if (depth > MAX_DEPTH || !isFields(value)) return;
  for (const label of [value.code, ...reasonsOf(value)]) if (asText(label)) found.labels.push(asText(label)!);
  if (typeof value.raw === 'string') {
    const { message, labels, param } = describeError(value.raw);
    found.messages.push(message);
    found.labels.push(...labels);
    if (param) found.param ??= param;
  }
  collectLabels(value.innererror, found, depth + 1);
}
