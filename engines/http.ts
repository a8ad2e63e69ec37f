/**
 * POST of JSON that retries transient failures (no connection, 408, 409, 429, 5xx), after as long as the server asks or
 * with growing delays. The `openai` package does the same at five times the processor time a request and leaves a
 * listener on the signal for each: with thousands of requests in a shard, one core did nothing else.
 * What a server sends is bounded in size and in time, whatever it says of itself.
 * Throws HttpError for an error reply and for one that is too large, ConnectionError where no reply came in time, and the
 * reason of an aborted signal.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, type Dispatcher, request } from 'undici';

/** `code`, `type` and `message` are those of OpenAI's API; null where the reply has another form. */
export class HttpError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly code: string | null,
    readonly type: string | null,
    /** The wait that the server asks for, where it is longer than what a request itself waits. */
    readonly waitMs?: number,
  ) {
    super(message);
  }
}

/** No connection, half a reply, or one that is not JSON. Its message is a clause that follows "does not answer". */
export class ConnectionError extends Error {}

export interface RetryOptions {
  /** Further tries after the first. */
  retries: number;
  /** A try that has no complete reply by then is given up; 0: never. A request may wait long in the queue of a busy server. */
  timeoutMs: number;
}

interface Request {
  body: unknown;
  headers: Record<string, string>;
  /** A longer reply is refused; default: MAX_REPLY_BYTES. */
  maxBytes?: number | undefined;
}

export type Headers = Dispatcher.ResponseData['headers'];

/** Far above any reply to a shard's request; a server that never ends its reply must not fill the worker's memory. */
export const MAX_REPLY_BYTES = 64 * 2 ** 20;
/** What is read of an error reply: it is shown, and may be the page of a proxy. */
const MAX_ERROR_BYTES = 64 * 2 ** 10;
const AGENT = new Agent({ connectTimeout: 10_000 });
const MAX_WAIT_MS = 60_000;
const LATE = 'its reply was not complete in time';
/**
 * A server may ask for longer than a request waits: the next attempt of the step does, up to this. A shorter wait is not
 * passed on: a step whose delays a server could set to nothing would use up its attempts at once.
 */
const MAX_STEP_WAIT_MS = 3_600_000;

class TooLarge extends Error {}

/** The parsed body of the reply; its headers are passed to `onHeaders`. */
export async function postJson(
  url: URL,
  { body, headers, maxBytes = MAX_REPLY_BYTES }: Request,
  { retries, timeoutMs }: RetryOptions,
  signal: AbortSignal,
  onHeaders: (headers: Headers) => void = () => {},
): Promise<unknown> {
  const options = {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json' },
    body: JSON.stringify(body),
    dispatcher: AGENT,
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
  } as const;
  for (let tries = 0; ; tries++) {
    signal.throwIfAborted();
    let reply: Dispatcher.ResponseData | null = null;
    let text = '';
    // undici's own limits begin again with each part of a body, and with each provisional response.
    const late = new AbortController();
    const timer = timeoutMs > 0 ? setTimeout(() => late.abort(new Error(LATE)), timeoutMs) : undefined;
    try {
      reply = await request(url, { ...options, signal: AbortSignal.any([signal, late.signal]) });
      if (reply.statusCode < 300) {
        const value = parsed(await textOf(reply.body, maxBytes));
        onHeaders(reply.headers);
        return value;
      }
      text = await beginningOf(reply.body);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      // Not retried: the next reply would be as large, and each may be billed.
      if (reply && error instanceof TooLarge) throw new HttpError(reply.statusCode, error.message, null, null);
      if (tries === retries) throw new ConnectionError(reasonOf(error), { cause: error });
      reply = null;
    } finally {
      clearTimeout(timer);
    }
    if (reply && (tries === retries || !isRetryable(reply))) throw errorOf(reply, text);
    await sleep(waitMs(reply, tries), undefined, { signal }).catch(() => signal.throwIfAborted());
  }
}

/** The message of JSON.parse quotes the reply, and might end in the middle of a key. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(text.trim() === '' ? 'its reply is empty' : 'its reply is not JSON');
  }
}

/** The status of a GET; its body is not read. Does not follow redirects. Throws ConnectionError. */
export async function statusOf(url: URL, headers: Record<string, string>, timeoutMs: number): Promise<number> {
  try {
    const { statusCode, body } = await request(url, {
      headers,
      dispatcher: AGENT,
      signal: AbortSignal.timeout(timeoutMs),
    });
    body.on('error', () => {}).destroy();
    return statusCode;
  } catch (error) {
    throw new ConnectionError(reasonOf(error), { cause: error });
  }
}

/** Leaving the loop early closes the connection. */
async function textOf(body: Dispatcher.ResponseData['body'], maxBytes: number): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of body as AsyncIterable<Buffer>) {
    bytes += part.length;
    parts.push(part);
    if (bytes > maxBytes) throw new TooLarge(`its reply is larger than ${Math.ceil(maxBytes / 2 ** 20)} MiB`);
  }
  return Buffer.concat(parts).toString('utf8');
}

/** The message of an error. A body that breaks off is none: it might end in the middle of a key. */
async function beginningOf(body: Dispatcher.ResponseData['body']): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of body as AsyncIterable<Buffer>) {
    bytes += part.length;
    parts.push(part);
    if (bytes >= MAX_ERROR_BYTES) break;
  }
  return Buffer.concat(parts).toString('utf8');
}

function isRetryable({ statusCode, headers }: Dispatcher.ResponseData): boolean {
  const advice = headers['x-should-retry'];
  if (advice === 'true' || advice === 'false') return advice === 'true';
  return isTransient(statusCode);
}

/** The same request may succeed later. */
export const isTransient = (status: number): boolean => [408, 409, 429].includes(status) || status >= 500;

function waitMs(reply: Dispatcher.ResponseData | null, tries: number): number {
  const requested = reply && requestedWaitMs(reply);
  if (typeof requested === 'number') return Math.min(requested, MAX_WAIT_MS);
  // Jitter: not all requests at the same moment.
  return Math.min(500 * 2 ** tries, 8000) * (0.75 + Math.random() / 4);
}

function requestedWaitMs({ headers }: Dispatcher.ResponseData): number | undefined {
  const after = headers['retry-after'];
  if (typeof after !== 'string') return undefined;
  // A date is one of the server's clock, which the reply shows: the clock here may be another, or have been set.
  const sentAt = Date.parse(String(headers.date)) || Date.now();
  const wait = /^\d/.test(after) ? Number.parseFloat(after) * 1000 : Date.parse(after) - sentAt;
  return wait >= 0 ? Math.min(wait, MAX_STEP_WAIT_MS) : undefined;
}

function errorOf(reply: Dispatcher.ResponseData, text: string): HttpError {
  let error: { message?: unknown; code?: unknown; type?: unknown } = {};
  let shown = text;
  try {
    const body = JSON.parse(text);
    // Not the text itself, in which escapes might hide a key.
    shown = JSON.stringify(body);
    error = (typeof body.error === 'object' && body.error) || body;
  } catch {
    // Not JSON, perhaps the page of a proxy: its text is the message.
  }
  const asText = (value: unknown) => (typeof value === 'string' ? value : null);
  const { message, code, type } = error;
  const wait = requestedWaitMs(reply) ?? 0;
  const waitMs = wait > MAX_WAIT_MS ? wait : undefined;
  return new HttpError(reply.statusCode, asText(message) ?? shown, asText(code), asText(type), waitMs);
}

/** What codes of Node, OpenSSL and undici mean; others, such as ECONNREFUSED, are shown as they are. */
const REASONS: [RegExp, string][] = [
  [/^(HPE_|ERR_ASSERTION$)/, 'what answers there does not speak HTTP'],
  [/^UND_ERR_(HEADERS|BODY)_TIMEOUT$/, LATE],
  [/^UND_ERR_CONNECT_TIMEOUT$/, 'no connection came about in time'],
  [/^UND_ERR_HEADERS_OVERFLOW$/, 'the headers of its reply are too large'],
  [/^UND_ERR_(SOCKET|RES_CONTENT_LENGTH_MISMATCH)$/, 'its reply ended before it was complete'],
  [/^CERT_HAS_EXPIRED$/, 'its TLS certificate has expired; renew it'],
  [/^CERT_NOT_YET_VALID$/, "its TLS certificate is not valid yet; check this machine's clock"],
  [/^ERR_TLS_CERT_ALTNAME_INVALID$/, 'its TLS certificate is for another host; set baseUrl to the name that it has'],
  [
    /^(DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_\w+)$/,
    "no authority known here has signed its TLS certificate; if it is your own, set NODE_EXTRA_CA_CERTS to that authority's file",
  ],
  [/^(EPROTO|ERR_SSL_\w+)$/, 'it does not speak TLS as expected; baseUrl may have to begin with http://'],
];

/** undici's `fetch failed` hides the reason in its innermost cause. */
export function reasonOf(error: unknown): string {
  let inner = error as Error & { code?: string };
  while (inner.cause instanceof Error) inner = inner.cause as typeof inner;
  const { code } = inner;
  return REASONS.find(([codes]) => codes.test(code ?? ''))?.[1] ?? code ?? inner.message ?? String(error);
}
