/**
 * HTTP with an engine: one exchange with bounds, and requests that retry transient failures (no connection, 408, 409,
 * 429, 5xx), after as long as the server asks or with growing delays. Whatever a server says of itself, what it sends is
 * bounded in size and in time.
 * Throws HttpError for an error reply and for one that is too large, ConnectionError where no reply came in time,
 * NotUnderstood for a reply that is no JSON, and the reason of an aborted signal.
 */
import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, type Dispatcher, request } from 'undici';
import { describeError, ErrorReply } from './error-body.js';
import { jsonOf, textOf } from './reply-body.js';

/** What a server says is wrong, in the words of OpenAI's API where it uses them. */
export class HttpError extends Error {
  readonly code: string | null;
  readonly type: string | null;

  constructor(
    readonly status: number,
    readonly reply: ErrorReply,
    /** The wait that the server asks for, in milliseconds. */
    readonly requestedMs?: number,
    /** The server says whether to try again; null: it does not. */
    private readonly advice: boolean | null = null,
    readonly isTooLarge = false,
  ) {
    super(reply.message);
    this.code = reply.code;
    this.type = reply.type;
  }

  /** The same request may succeed later. */
  get isTransient(): boolean {
    return isTransient(this.status, this.reply) && !this.isExhausted;
  }

  /** A quota that is used up, or money: no wait helps, whatever the status. */
  get isExhausted(): boolean {
    return this.status === 402 || isExhausted(this.reply, this.requestedMs !== undefined);
  }

  /** It has too much to do, for whomever it is. */
  get isBusy(): boolean {
    return this.isTransient && (this.status < 500 || [503, 529].includes(this.status));
  }

  /** It may succeed at once. */
  get isWorthAnotherTry(): boolean {
    return this.advice ?? this.isTransient;
  }

  /** The wait that the server asks for, where it is longer than what a request itself waits. */
  get waitMs(): number | undefined {
    const { requestedMs = 0 } = this;
    return requestedMs > MAX_WAIT_MS ? requestedMs : undefined;
  }
}

/** No connection, or half a reply. Its message is a clause that follows "does not answer". */
export class ConnectionError extends Error {
  /** Another try takes as long, and may be billed like this one. */
  get isLate(): boolean {
    return this.message === LATE;
  }
}

export interface RetryOptions {
  /** Further tries after the first. */
  retries: number;
  /** A try that has no complete reply by then is given up; 0: never. A request may wait long in the queue of a busy server. */
  timeoutMs: number;
  /** Before the second try; it doubles with each. Default: half a second. */
  pauseMs?: number;
  /** The longest that a server may ask for; default: a minute. */
  maxPauseMs?: number;
}

export type Headers = Dispatcher.ResponseData['headers'];

/** A whole reply; of an error, its beginning. */
export interface Reply {
  status: number;
  headers: Headers;
  body: Buffer;
}

export interface Exchange {
  body: string;
  headers: Record<string, string>;
  /** A longer reply is refused; default: MAX_REPLY_BYTES. */
  maxBytes?: number | undefined;
  dispatcher?: Dispatcher;
}

/** Far above any reply to a shard's request; a server that never ends its reply must not fill the worker's memory. */
export const MAX_REPLY_BYTES = 64 * 2 ** 20;
/** What is read of an error reply: it is shown, and may be the page of a proxy. */
const MAX_ERROR_BYTES = 64 * 2 ** 10;
/** An event stream wraps each token in an object of its own. */
export const STREAM_FACTOR = 8;
export const AGENT_OPTIONS = { connectTimeout: 10_000 };
const AGENT = new Agent(AGENT_OPTIONS);
const MAX_WAIT_MS = 60_000;
const PAUSE_MS = 500;
const MAX_PAUSE_MS = 8000;
const LATE = 'its reply was not complete in time';
/**
 * A server may ask for longer than a request waits: the next attempt of the step does, up to this. A shorter wait is not
 * passed on: a step whose delays a server could set to nothing would use up its attempts at once.
 */
const MAX_STEP_WAIT_MS = 3_600_000;

class TooLarge extends Error {}

/** The parsed body of the reply to one POST; its headers are passed to `onHeaders`. */
export function postJson(
  url: URL,
  { body, headers, maxBytes }: { body: unknown; headers: Record<string, string>; maxBytes?: number | undefined },
  retry: RetryOptions,
  signal: AbortSignal,
  onHeaders: (headers: Headers) => void = () => {},
): Promise<unknown> {
  const sent = { body: JSON.stringify(body), headers: { ...headers, 'content-type': 'application/json' }, maxBytes };
  const read = (reply: Reply) => {
    const value = jsonOf(reply, maxBytes ?? MAX_REPLY_BYTES);
    onHeaders(reply.headers);
    return value;
  };
  return retrying((trying) => exchange(url, sent, trying), read, retry, signal);
}

/** POSTs once. Throws HttpError where the reply is too large, and what undici throws. */
export async function exchange(
  url: URL | string,
  { body, headers, maxBytes = MAX_REPLY_BYTES, dispatcher = AGENT }: Exchange,
  signal: AbortSignal,
): Promise<Reply> {
  // undici's own limits begin again with each part of a body, and with each provisional response.
  const limits = { headersTimeout: 0, bodyTimeout: 0 };
  const reply = await request(url, { method: 'POST', body, headers, dispatcher, signal, ...limits });
  const { statusCode: status, headers: replied } = reply;
  if (status >= 300) return { status, headers: replied, body: await beginningOf(reply.body) };
  const isStream = String(replied['content-type']).includes('event-stream');
  const most = Math.min(maxBytes * (isStream ? STREAM_FACTOR : 1), MAX_REPLY_BYTES);
  try {
    return { status, headers: replied, body: await wholeOf(reply.body, most) };
  } catch (error) {
    // Not retried: the next reply would be as large, and each may be billed.
    if (error instanceof TooLarge) throw new HttpError(status, ErrorReply.of(error.message), undefined, null, true);
    throw error;
  }
}

/** What `read` makes of the first reply that is no error. `read` may throw what is not retried, or a transient HttpError. */
export async function retrying<T>(
  send: (signal: AbortSignal) => Promise<Reply>,
  read: (reply: Reply) => T,
  { retries, timeoutMs, pauseMs = PAUSE_MS, maxPauseMs = MAX_WAIT_MS }: RetryOptions,
  signal: AbortSignal,
): Promise<T> {
  // Each request in flight listens; Node's warning of a leak is meant for something else.
  setMaxListeners(0, signal);
  for (let tries = 0; ; tries++) {
    signal.throwIfAborted();
    let reply: Reply | null = null;
    let error: HttpError | ConnectionError | null = null;
    // Not AbortSignal.any: a signal that it makes is kept as long as `signal`, if anybody leaves a listener on it.
    const trying = new AbortController();
    const stop = () => trying.abort(signal.reason);
    signal.addEventListener('abort', stop);
    const timer = timeoutMs > 0 ? setTimeout(() => trying.abort(new Error(LATE)), timeoutMs) : undefined;
    try {
      reply = await send(trying.signal);
    } catch (thrown) {
      if (signal.aborted) throw signal.reason;
      error = thrown instanceof HttpError ? thrown : new ConnectionError(reasonOf(thrown), { cause: thrown });
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
    }
    if (reply) {
      try {
        if (reply.status < 300) return read(reply);
        error = errorOf(reply);
      } catch (thrown) {
        if (!(thrown instanceof HttpError)) throw thrown;
        error = thrown;
      }
    }
    if (tries === retries || (error instanceof HttpError && !error.isWorthAnotherTry)) throw error;
    const askedMs = error instanceof HttpError ? error.requestedMs : undefined;
    await pause(tries, signal, { pauseMs, askedMs: askedMs && Math.min(askedMs, maxPauseMs) });
  }
}

/** Before the next try: as long as the server has asked for, or longer with each, and not all at the same moment. */
export async function pause(
  tries: number,
  signal: AbortSignal,
  { pauseMs = PAUSE_MS, askedMs }: { pauseMs?: number | undefined; askedMs?: number | undefined } = {},
): Promise<void> {
  const ms = askedMs ?? Math.min(pauseMs * 2 ** tries, MAX_PAUSE_MS) * (0.75 + Math.random() / 4);
  await sleep(ms, undefined, { signal }).catch(() => signal.throwIfAborted());
}

/** The status of a GET; its body is not read. Does not follow redirects. Throws ConnectionError. */
export async function statusOf(
  url: URL,
  headers: Record<string, string>,
  timeoutMs: number,
  dispatcher: Dispatcher = AGENT,
): Promise<number> {
  try {
    const { statusCode, body } = await request(url, {
      headers,
      dispatcher,
      signal: AbortSignal.timeout(timeoutMs),
    });
    body.on('error', () => {}).destroy();
    return statusCode;
  } catch (error) {
    throw new ConnectionError(reasonOf(error), { cause: error });
  }
}

/** Leaving the loop early closes the connection. */
async function wholeOf(body: Dispatcher.ResponseData['body'], maxBytes: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of body as AsyncIterable<Buffer>) {
    bytes += part.length;
    parts.push(part);
    if (bytes > maxBytes) throw new TooLarge(`its reply is larger than ${Math.ceil(maxBytes / 2 ** 20)} MiB`);
  }
  return Buffer.concat(parts);
}

/** The message of an error. A body that breaks off is none: it might end in the middle of a key. */
async function beginningOf(body: Dispatcher.ResponseData['body']): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of body as AsyncIterable<Buffer>) {
    bytes += part.length;
    parts.push(part);
    if (bytes >= MAX_ERROR_BYTES) break;
  }
  return Buffer.concat(parts);
}

/** 425: too early; 498: no capacity (Groq); 499: a proxy between has given up. */
const TRANSIENT = [408, 409, 425, 429, 498, 499];
const BUSY_LABEL = /rate.?limit|too_?many_?requests|throttl|overload|unavailable|capacity_exceeded/i;
const isTransient = (status: number, { code, type, labels }: ErrorReply): boolean =>
  TRANSIENT.includes(status) ||
  status >= 500 ||
  // Some gateways send these for everything.
  ([400, 403].includes(status) && [code, type, ...labels].some((label) => label !== null && BUSY_LABEL.test(label)));

const MONEY_LABEL =
  /insufficient_(?:quota|balance|credits?|funds)|arrear|budget_?exceeded|credit_?limit|payment_required|current_quota/i;
const MONEY =
  /insufficient (?:account )?(?:balance|credits?|funds|quota)|credit balance is too low|(?:out of|no|any|more) credits\b|credit limit|key limit exceeded|spend(?:ing)? (?:limit|cap)|usage limits?\b.{0,40}regain|in arrears|budget (?:has been )?exceeded|exceeded .{0,30}\b(?:budget|included credits)|daily free allocation|(?:account|organization|project)\b.{0,60}(?:suspended|good standing|deactivated)|payment required|欠费|余额不足|充值/i;
/** The same words are used for limits that pass: of these, the reply says when. */
const QUOTA = /exceeded your current quota|check your plan and billing|billing (?:hard )?limit/i;

function isExhausted({ code, type, labels, message }: ErrorReply, saysWhen: boolean): boolean {
  const text = message.slice(0, 1000);
  if ([code, type, ...labels].some((label) => label !== null && MONEY_LABEL.test(label))) return true;
  return MONEY.test(text) || (QUOTA.test(text) && !saysWhen);
}

/** What an error reply says, and for how long to wait. */
export function errorOf({ status, headers, body }: Reply): HttpError {
  const advice = headers['x-should-retry'];
  const isRedirect = status >= 300 && status < 400;
  const says = isRedirect ? ErrorReply.of(redirection(headers.location)) : describeError(textOf(body, headers));
  return new HttpError(status, says, requestedWaitMs(headers, status, says.message), advisory(advice));
}

/** Not followed: the key is meant for the address that was asked. */
function redirection(location: unknown): string {
  const found =
    typeof location === 'string' && /^https?:/i.test(location) && URL.canParse(location) && new URL(location);
  const isPath = typeof location === 'string' && /^\/(?!\/)/.test(location);
  const where = found
    ? `${found.origin}${found.pathname}`
    : isPath
      ? location.replace(/[?#].*/s, '')
      : 'another address';
  return `it redirects to ${where}, to which no key is sent; set baseUrl to the one that answers`;
}

const advisory = (advice: unknown) => (advice === 'true' || advice === 'false' ? advice === 'true' : null);

function requestedWaitMs(headers: Headers, status: number, message: string): number | undefined {
  // A date is one of the server's clock, which the reply shows: the clock here may be another, or have been set.
  const sentAt = Date.parse(String(headers.date)) || Date.now();
  const wait = [
    numberOf(headers['retry-after-ms']),
    delayOf(headers['retry-after'], sentAt),
    status === 429 ? resetMs(headers, sentAt) : undefined,
    status === 429 ? saidMs(message, sentAt) : undefined,
  ].find((ms) => ms !== undefined && ms >= 0);
  return wait === undefined ? undefined : Math.min(wait, MAX_STEP_WAIT_MS);
}

const numberOf = (text: unknown): number | undefined =>
  typeof text === 'string' && /^\d/.test(text) ? Number.parseFloat(text) : undefined;

/** Seconds, a date, or what some servers write in its place. */
const delayOf = (after: unknown, sentAt: number): number | undefined =>
  typeof after === 'string'
    ? durationOf(/^\s*\d/.test(after) ? after.split(',')[0]!.trim() : after, sentAt)
    : undefined;

/** `Please try again in 10m22.08s.`: some write the wait into the message alone (Gemini). */
function saidMs(message: string, sentAt: number): number | undefined {
  const said = /\b(?:(?:try again|retry) (?:in|after)|wait) ([\d.]+(?: ?[a-z]+)?(?:[\d.]+[a-z]+)*)/i.exec(
    message.slice(0, 2000),
  )?.[1];
  return said === undefined ? undefined : durationOf(said.replace(/ ?s(?:ec\w*)?\.?$| ?\.$/i, 's'), sentAt);
}

const RESET = /^(?:x-)?ratelimit-reset(?:-(\w+))?$/;
/** A limit whose rest is not known has perhaps not been reached: the shortest of those, or the longest that has been. */
function resetMs(headers: Headers, sentAt: number): number | undefined {
  const reached: number[] = [];
  const others: number[] = [];
  for (const [name, value] of Object.entries(headers)) {
    const [found, of] = RESET.exec(name) ?? [];
    const ms = found && typeof value === 'string' ? durationOf(value, sentAt) : Number.NaN;
    if (!(ms >= 0)) continue;
    const rest = headers[`x-ratelimit-remaining${of ? `-${of}` : ''}`];
    if (rest === '0') reached.push(ms);
    else if (rest === undefined) others.push(ms);
  }
  if (reached.length > 0) return Math.max(...reached);
  return others.length > 0 ? Math.min(...others) : undefined;
}

const DURATION = /^(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?$/;
/** `1m2.5s`, `20ms`, seconds, a date, or a time since 1970 in seconds or milliseconds. NaN: something else. */
function durationOf(text: string, sentAt: number): number {
  if (/^\d+(\.\d+)?(e\d+)?$/i.test(text)) {
    const number = Number(text);
    if (number > 1e11) return number - sentAt;
    return number > 1e9 ? number * 1000 - sentAt : number * 1000;
  }
  const parts = DURATION.exec(text);
  if (!parts || text === '') return Date.parse(text) - sentAt;
  const [days, hours, minutes, seconds, ms] = parts.slice(1).map((part) => Number(part ?? 0));
  return (((days! * 24 + hours!) * 60 + minutes!) * 60 + seconds!) * 1000 + ms!;
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
