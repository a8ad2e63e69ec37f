/**
 * POST of JSON, with patience: what may pass by itself (no connection, 408, 409, 429, 5xx) is tried again after as long
 * as the server asks, else after a growing while. The `openai` package does the same at five times the processor time
 * a request, and leaves a listener on the signal for each: with thousands in a shard, one core was all spent on that.
 * Throws HttpError for an answer that is an error, NoAnswer where none came, what the signal was aborted with.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, type Dispatcher, request } from 'undici';

/** The server's answer, an error; `code`, `type` and `message` as OpenAI's servers give them, where they do. */
export class HttpError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly code: string | null,
    readonly type: string | null,
    /** As long as the server asks to wait. */
    readonly waitMs?: number,
  ) {
    super(message);
  }
}

/** No connection, half an answer, or one that is not JSON. */
export class NoAnswer extends Error {}

export interface Patience {
  /** Further tries. */
  retries: number;
  /** 0: no bound. A request may wait long in the queue of a busy server. */
  timeoutMs: number;
}

const AGENT = new Agent({ connectTimeout: 10_000 });
const LONGEST_WAIT_MS = 60_000;

/** The parsed body of the answer; its headers go to `onHeaders`. */
export async function postJson(
  url: URL,
  body: unknown,
  headers: Record<string, string>,
  { retries, timeoutMs }: Patience,
  signal: AbortSignal,
  onHeaders: (headers: Dispatcher.ResponseData['headers']) => void = () => {},
): Promise<unknown> {
  const options = {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json' },
    body: JSON.stringify(body),
    dispatcher: AGENT,
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    signal,
  } as const;
  for (let tries = 0; ; tries++) {
    signal.throwIfAborted();
    let answer: Dispatcher.ResponseData | null = null;
    let text = '';
    try {
      answer = await request(url, options);
      text = await answer.body.text();
      if (answer.statusCode < 300) {
        const value = JSON.parse(text);
        onHeaders(answer.headers);
        return value;
      }
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (tries === retries) throw new NoAnswer(reasonOf(error), { cause: error });
      answer = null;
    }
    if (answer && (tries === retries || !mayPass(answer))) throw errorOf(answer, text);
    await sleep(waitMs(answer, tries), undefined, { signal }).catch(() => signal.throwIfAborted());
  }
}

function mayPass({ statusCode, headers }: Dispatcher.ResponseData): boolean {
  const told = headers['x-should-retry'];
  if (told === 'true' || told === 'false') return told === 'true';
  return isPassing(statusCode);
}

/** The same request may be answered later. */
export const isPassing = (status: number): boolean => [408, 409, 429].includes(status) || status >= 500;

function waitMs(answer: Dispatcher.ResponseData | null, tries: number): number {
  const asked = answer && askedMs(answer);
  if (typeof asked === 'number') return Math.min(asked, LONGEST_WAIT_MS);
  // Not all at the same moment.
  return Math.min(500 * 2 ** tries, 8000) * (0.75 + Math.random() / 4);
}

function askedMs({ headers }: Dispatcher.ResponseData): number | undefined {
  const after = headers['retry-after'];
  if (typeof after !== 'string') return undefined;
  const asked = /^\d/.test(after) ? Number.parseFloat(after) * 1000 : Date.parse(after) - Date.now();
  return asked >= 0 ? asked : undefined;
}

function errorOf(answer: Dispatcher.ResponseData, text: string): HttpError {
  let told: { message?: unknown; code?: unknown; type?: unknown } = {};
  try {
    const body = JSON.parse(text);
    told = (typeof body.error === 'object' && body.error) || body;
  } catch {
    // A proxy's page, perhaps: its text must do.
  }
  const asText = (value: unknown) => (typeof value === 'string' ? value : null);
  const { statusCode } = answer;
  return new HttpError(statusCode, asText(told.message) ?? text, asText(told.code), asText(told.type), askedMs(answer));
}

/** `fetch failed` says nothing: what it failed of is the innermost cause. */
function reasonOf(error: unknown): string {
  let inner = error as Error & { code?: string };
  while (inner.cause instanceof Error) inner = inner.cause as typeof inner;
  return inner.code ?? inner.message ?? String(error);
}
