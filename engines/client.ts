/**
 * EngineClient: what steps ask of an engine. ChatClient: the part of it that every server with OpenAI's chat API can do
 * (vLLM's field names where OpenAI has none).
 * What an endpoint refuses about one row is the outcome of that row; what it refuses about all is an error. A server is
 * not trusted: its key is taken out of whatever it says, and what it counts is bounded by what was asked for and by what
 * came.
 * Throws engine.unreachable (retried), engine.refused, engine.not-understood and engine.lacks (not).
 */
import { isSuspect } from '../contracts/counts.js';
import { engineLacks, engineNotUnderstood, engineRefused, engineUnreachable, Problem } from '../contracts/errors.js';
import { type Candidate, encodable, MAX_REASON_CHARS, type Message } from '../contracts/rows.js';
import { type Choice, readChat, type Usage } from './chat-reply.js';
import type { Dialect } from './dialect.js';
import {
  ConnectionError,
  exchange,
  type Headers,
  HttpError,
  MAX_REPLY_BYTES,
  pause,
  type Reply,
  type RetryOptions,
  retrying,
  STREAM_FACTOR,
} from './http.js';
import { filterOf, fitOf, mayConcernRow } from './refusals.js';
import { jsonOf, NotUnderstood } from './reply-body.js';

export interface EngineClient {
  /**
   * `n` completions, always. What the endpoint refuses about this one prompt (a content filter, a prompt longer than the
   * context) is the outcome of the request: completions without text, with the reason.
   */
  sample(request: SampleRequest, signal: AbortSignal, cost?: RequestCost): Promise<Completion[]>;

  /** Throws engine.lacks unless the engine has the capability `promptLogprobs`. */
  logprobs(request: LogprobRequest, signal: AbortSignal, cost?: RequestCost): Promise<Logprobs>;
}

export interface SampleRequest {
  messages: Message[];
  n: number;
  /** Seed of the first completion; the next ones have the seeds that follow. */
  seed: number;
  temperature: number;
  topP: number;
  /** 0: all tokens. */
  topK: number;
  maxTokens: number;
  stop: string[];
  /** The last message is the beginning of the reply. */
  continueReply?: boolean;
  /** For the log of the server. */
  requestId: string;
}

/** Asks how likely `suffix` is after the chat prompt and each of `prefixes_K`. */
export interface LogprobRequest {
  messages: Message[];
  prefixes_K: string[];
  /** It is tokenized by itself, so that all prefixes are compared on the same tokens. */
  suffix: string;
  /** For the log of the server. */
  requestId: string;
}

export interface Logprobs {
  /** The log-probability of each token of the suffix, in nats. null: the text is longer than the model's context. */
  nats_KT: (number[] | null)[];
}

/**
 * A text, or the reason why there is none. `tokens` and `seed` are null where the engine does not report or take them.
 * No text, and `finish` is `other`: the endpoint misbehaved (isSuspect), so that another run asks again.
 */
export type Completion = Pick<Candidate, 'text' | 'finish' | 'reason' | 'reasoning' | 'tokens' | 'seed'>;

/** The prompt does not fit the model's context: the reason of its completions. */
export const TOO_LONG = "the prompt is longer than the model's context";

/** What requests have cost; a client adds to it. GPU seconds are known of servers that report them. */
export interface RequestCost {
  promptTokens: number;
  completionTokens: number;
  gpuSeconds: number;
  /** A server did not report what a request used: the tokens are estimated from the length of the texts. */
  estimated: boolean;
}

export const noCost = (): RequestCost => ({ promptTokens: 0, completionTokens: 0, gpuSeconds: 0, estimated: false });

/** What p-limit returns. Its own type is an ES module's, which the types of a CommonJS package cannot import. */
export type Limit = <T>(work: () => Promise<T>) => Promise<T>;

/** Sends one POST. `path` is relative to the address of the engine. */
export type Send = (path: string, body: object, sending: Sending, signal: AbortSignal) => Promise<Reply>;
interface Sending {
  headers: Record<string, string>;
  maxBytes: number;
}

export interface ClientOptions {
  /** The engine's name in temporal.config.ts, for messages. */
  name: string;
  /** Ends in /v1. */
  baseUrl: string;
  /** What is asked, for messages; none: a server of this host, whose port says nothing. */
  address?: string;
  apiKey: string;
  model: string;
  /** Shared by all clients of an engine: bounds their requests in flight. */
  limit: Limit;
  /** Shared by all clients of an engine: what they find out. */
  dialect: Dialect;
  retry: RetryOptions;
  /** Shared by all clients of an engine: when it last answered any of them, by the clock of this process. */
  answered?: { at: number };
  /** Default: straight to baseUrl. */
  send?: Send;
  /** The header of a reply that holds the GPU seconds of its request. */
  secondsHeader?: string;
  /** The weights are the run's own: what they do not say is their answer, and asked again they would say the same. */
  ownWeights?: boolean;
}

/** The engine takes everything. */
export const PLAIN = { n: true, seed: true, topK: true, maxTokensField: 'max_tokens' } as const;

/** Requests for the texts of one row until one of them is of use. */
const TRIES = 3;
/** Where prompt and reply are too long together, and nobody says by how much: a reply of this part is asked for. */
const LOWERED = 8;
/** More than a token takes in JSON, however it is escaped, on average; and what a reply holds besides its texts. */
const BYTES_PER_TOKEN = 64;
const REPLY_OVERHEAD_BYTES = 2 ** 20;
/** More than a chat template adds to a prompt. */
const TEMPLATE_TOKENS = 4096;
/** What a token takes on average where a server counts none, and the longest token of any common tokenizer. */
const BYTES_PER_UNCOUNTED_TOKEN = 4;
const MAX_TOKEN_BYTES = 128;
/** A shorter key is too short to be one, and would be found everywhere. */
const MIN_KEY_CHARS = 8;
const MAX_MESSAGE_CHARS = 300;
const MAX_BEGINNING_CHARS = 120;
const CHAT = '/chat/completions';
const NO_MONEY = 'The money or the quota of its account is used up: see to that, then `srlm retry`.';
const NO_REASON = 'without a reason';
/** What any endpoint that works answers. */
const PROBE = 'Say yes.';

interface Sent {
  requestId?: string | undefined;
  cost?: RequestCost | undefined;
  maxBytes?: number;
  /** Called before each try. */
  onSend?: () => void;
  /** Before the requests that wait for their turn. */
  isUrgent?: boolean;
}

export class ChatClient implements EngineClient {
  private readonly spellings: readonly string[];
  /** What ended a request for good: the rows that wait are not sent. */
  private broken: Problem | null = null;
  /** When the last request that was answered with a text had been sent, by the clock of this process. */
  private answeredSince = Number.NEGATIVE_INFINITY;
  /** What shows whether anything is answered: rows that fail at the same time share it. */
  private probe: { sentAt: number; isAnswered: Promise<boolean> } | null = null;

  /** When the engine last answered a client. */
  private readonly answered: { at: number };

  constructor(protected readonly options: ClientOptions) {
    this.answered = options.answered ?? { at: Number.NEGATIVE_INFINITY };
    this.spellings = options.apiKey.length < MIN_KEY_CHARS ? [] : spellingsOf(options.apiKey);
  }

  async sample(request: SampleRequest, signal: AbortSignal, cost?: RequestCost): Promise<Completion[]> {
    const { dialect } = this.options;
    const found = dialect.takes('n') ? await this.ask(request, signal, cost) : [];
    if (found.length === request.n) return found;
    // One choice may stand for all that a filter has kept back.
    if (found.some(({ text }) => text.trim() !== '')) dialect.ignoresN();
    const missing = Array.from({ length: request.n - found.length }, (_, i) => request.seed + found.length + i);
    const others = await allOf(missing.map((seed) => this.ask({ ...request, n: 1, seed }, signal, cost)));
    return [...found, ...others.flat()];
  }

  async logprobs(_request: LogprobRequest, _signal: AbortSignal, _cost?: RequestCost): Promise<Logprobs> {
    throw engineLacks(this.options.name, 'give log-probabilities of a prompt', 'the selector');
  }

  /** One completion at least, and `n` at most: as many as the endpoint sends at once. */
  private async ask(request: SampleRequest, signal: AbortSignal, cost?: RequestCost): Promise<Completion[]> {
    const { dialect, ownWeights = false, retry } = this.options;
    const tries = ownWeights ? 1 : Math.min(TRIES, retry.retries + 1);
    let { maxTokens } = request;
    let isLowered = false;
    let isAskedAgain = false;
    let timesBusy = 0;
    for (let tried = 1; ; ) {
      const triedAt = performance.now();
      const asked = { ...request, maxTokens };
      const body = this.bodyOf(asked);
      try {
        const completions = await this.completions(asked, body, signal, cost);
        if (tried === tries || !completions.every(isSuspectText)) return completions;
      } catch (error) {
        if (!isNoAnswer(error)) throw error;
        if (error instanceof HttpError) {
          if (!ownWeights && dialect.adapt(error, body)) continue;
          const filter = ownWeights ? null : filterOf(error);
          if (filter) return none(request, 'filtered', filter);
          const fit = ownWeights && error.status !== 400 ? null : fitOf(error, sentTokens(body) ?? maxTokens);
          if (fit === 'prompt' || (fit === 'unclear' && isLowered)) return none(request, 'refused', TOO_LONG);
          if (fit && fit !== 'unclear' && 'most' in fit) {
            dialect.writesAtMost(fit.most);
            continue;
          }
          if (fit && isLowered) throw this.ended(this.tooManyTokens(error));
          if (fit) {
            isLowered = true;
            maxTokens = fit === 'unclear' ? Math.ceil(maxTokens / LOWERED) : fit.room;
            continue;
          }
          if (error.isExhausted) throw this.ended(this.problem(error));
        }
        if (error instanceof ConnectionError || (error instanceof HttpError && error.isTransient)) {
          const isBusy = error instanceof HttpError && error.isBusy;
          // Others get through: so will this row. The next attempt of the step would ask again about those, too.
          if (isBusy && !ownWeights && this.answered.at > triedAt) {
            await pause(timesBusy++, signal, retry);
            continue;
          }
          const mayBeRow = !ownWeights && !isBusy;
          if (!mayBeRow || !(await this.answersOthers(request, signal, cost))) throw this.problem(error);
          if (isAskedAgain || (error instanceof ConnectionError && error.isLate)) return this.failed(error, request);
          // What ailed the endpoint may have passed in the meantime.
          isAskedAgain = true;
          continue;
        }
        if (isFinal(error) || tried === tries) return await this.outcomeOf(error, request, signal, cost);
      }
      await pause(tried - 1, signal, retry);
      tried++;
    }
  }

  private bodyOf(request: SampleRequest): Record<string, unknown> {
    const { model, dialect } = this.options;
    return {
      model,
      messages: request.messages,
      ...(request.stop.length > 0 ? { stop: request.stop } : {}),
      ...(request.continueReply ? { continue_final_message: true, add_generation_prompt: false } : {}),
      ...dialect.fields(request),
    };
  }

  private async completions(
    request: SampleRequest,
    body: Record<string, unknown>,
    signal: AbortSignal,
    cost?: RequestCost,
    isUrgent = false,
  ): Promise<Completion[]> {
    const { n, maxTokens, seed, requestId } = request;
    const maxBytes = REPLY_OVERHEAD_BYTES + n * maxTokens * BYTES_PER_TOKEN;
    const read = (value: unknown) => readChat(value, n);
    let sentAt = 0;
    const onSend = () => {
      sentAt = performance.now();
    };
    const { choices, usage } = await this.send(CHAT, body, read, signal, {
      requestId,
      cost,
      maxBytes,
      onSend,
      isUrgent,
    });
    if (cost) this.charge(cost, usage, request, choices);
    if (choices.length === 0) return none(request, 'other', 'the endpoint sent no choices');
    const seeded = 'seed' in body && this.options.dialect.takes('seed');
    const completions = choices.map((choice, k) => ({
      ...this.completionOf(choice),
      tokens: tokensOf(choice.tokens ?? (choices.length === 1 ? usage?.completion_tokens : undefined), maxTokens),
      seed: seeded ? seed + k : null,
    }));
    this.answered.at = performance.now();
    if (!completions.every(isSuspectText)) this.answeredSince = Math.max(this.answeredSince, sentAt);
    return completions;
  }

  private completionOf({ text: raw, finish, reason, reasoning }: Choice): Omit<Completion, 'tokens' | 'seed'> {
    // No prompt and no training row could hold half of a character, which an endpoint cuts at its limit.
    const text = encodable(this.withoutKey(raw));
    const thought = reasoning === '' ? {} : { reasoning: encodable(this.withoutKey(reasoning)) };
    if (this.options.ownWeights && finish === 'other' && text.trim() === '')
      return { text, finish: 'stop', reason: null, ...thought };
    return { text, finish, reason: reason === null ? null : this.shown(reason, MAX_REASON_CHARS), ...thought };
  }

  /** A token is at least a byte of the prompt, which some servers count once for each choice. */
  private charge(cost: RequestCost, usage: Usage, { messages, n, maxTokens }: SampleRequest, choices: Choice[]): void {
    const promptBytes = Buffer.byteLength(JSON.stringify(messages));
    const texts = choices.map(({ text, reasoning }) => text + reasoning).join('');
    charge(cost, usage, {
      prompt: { bytes: promptBytes, most: n * (promptBytes + TEMPLATE_TOKENS) },
      completion: { bytes: Buffer.byteLength(texts), most: n * maxTokens },
    });
  }

  /**
   * What nobody can make anything of: where other rows are answered, it is the outcome of this row, else it is thrown.
   */
  private async outcomeOf(
    error: HttpError | NotUnderstood,
    request: SampleRequest,
    signal: AbortSignal,
    cost: RequestCost | undefined,
  ): Promise<Completion[]> {
    const mayBeRow = !this.options.ownWeights && (error instanceof NotUnderstood || mayConcernRow(error));
    if (!mayBeRow || !(await this.answersOthers(request, signal, cost))) throw this.ended(this.problem(error));
    if (error instanceof NotUnderstood) return none(request, 'other', `the endpoint sent ${error.what}`);
    if (error.status < 300) return this.failed(error, request);
    const says = `${error.status}: ${error.message || NO_REASON}`;
    return none(request, 'refused', this.shown(says, MAX_REASON_CHARS));
  }

  /** The endpoint fails at this row alone; another run asks again. */
  private failed(error: HttpError | ConnectionError, request: SampleRequest): Completion[] {
    const status = error instanceof HttpError && error.status >= 300 ? `${error.status} ` : '';
    const what =
      error instanceof HttpError
        ? `an error: ${status}${error.message || NO_REASON}`
        : `the endpoint did not answer: ${error.message}`;
    return none(request, 'other', this.shown(what, MAX_REASON_CHARS));
  }

  /**
   * Another row that was sent after this moment is answered, or something short is, with the same settings. What was sent
   * before may still be answered when the money is used up, or the key has expired.
   */
  private async answersOthers(
    request: SampleRequest,
    signal: AbortSignal,
    cost: RequestCost | undefined,
  ): Promise<boolean> {
    const failedAt = performance.now();
    await pause(0, signal, this.options.retry);
    if (this.answeredSince > failedAt) return true;
    if (!this.probe || this.probe.sentAt < failedAt)
      this.probe = { sentAt: performance.now(), isAnswered: this.answersProbe(request, signal, cost) };
    return this.probe.isAnswered;
  }

  private async answersProbe(
    request: SampleRequest,
    signal: AbortSignal,
    cost: RequestCost | undefined,
  ): Promise<boolean> {
    const system = request.messages.filter(({ role }) => role === 'system');
    const asked: SampleRequest = { ...request, messages: [...system, { role: 'user', content: PROBE }] };
    delete asked.continueReply;
    try {
      const found = await this.completions(asked, this.bodyOf(asked), signal, cost, true);
      return !found.every(isSuspectText);
    } catch (error) {
      if (isNoAnswer(error)) return false;
      throw error;
    }
  }

  /** What `read` makes of the reply; else throws a Problem. `path` is relative to baseUrl. */
  protected async post<T>(
    path: string,
    body: object,
    read: (value: unknown) => T,
    signal: AbortSignal,
    sent: Sent = {},
  ): Promise<T> {
    try {
      return await this.send(path, body, read, signal, sent);
    } catch (error) {
      throw this.problem(error);
    }
  }

  /** As `post`, but throws HttpError, NotUnderstood and ConnectionError as they are. */
  protected send<T>(
    path: string,
    body: object,
    read: (value: unknown) => T,
    signal: AbortSignal,
    { requestId, cost, maxBytes = MAX_REPLY_BYTES, onSend, isUrgent = false }: Sent,
  ): Promise<T> {
    const { limit, retry, secondsHeader, apiKey } = this.options;
    // The id of a row may hold any character, a header may not.
    const id = requestId?.replace(/[^\x20-\x7e]/g, '?').slice(0, 200);
    const headers = { authorization: `Bearer ${apiKey}`, ...(id ? { 'x-request-id': id } : {}) };
    const count = (replied: Headers) => {
      const seconds = secondsHeader ? Number(replied[secondsHeader] ?? 0) : 0;
      if (cost && seconds > 0 && Number.isFinite(seconds)) cost.gpuSeconds += seconds;
    };
    const sending = { headers, maxBytes: Math.min(maxBytes, MAX_REPLY_BYTES) };
    const sendBy = this.options.send ?? this.sendStraight;
    const send = (trying: AbortSignal) => {
      onSend?.();
      return sendBy(path, body, sending, trying);
    };
    const readReply = (reply: Reply) => {
      const value = jsonOf(reply, Math.min(STREAM_FACTOR * sending.maxBytes, MAX_REPLY_BYTES));
      count(reply.headers);
      return read(value);
    };
    const inTurn: Limit = isUrgent ? (work) => work() : limit;
    return inTurn(async () => {
      if (this.broken) throw this.broken;
      return retrying(send, readReply, retry, signal);
    });
  }

  private readonly sendStraight: Send = (path, body, { headers, maxBytes }, signal) => {
    const sent = { ...headers, 'content-type': 'application/json' };
    return exchange(
      new URL(this.options.baseUrl + path),
      { body: JSON.stringify(body), headers: sent, maxBytes },
      signal,
    );
  };

  /** The rows that wait would get the same, and pay for it. */
  private ended(problem: unknown): unknown {
    if (problem instanceof Problem && !problem.retry && !this.options.ownWeights) this.broken ??= problem;
    return problem;
  }

  /** Some servers repeat the key in an error, or to a model that repeats it: it must not get into a history or a store. */
  private withoutKey(text: string): string {
    return this.spellings.reduce((left, spelling) => left.replaceAll(spelling, '[the key]'), text);
  }

  /** One line without the key, cut last: half a key would not be found. */
  private shown(text: string, most: number): string {
    return encodable(oneLine(this.withoutKey(text)).slice(0, most));
  }

  private problem(error: unknown): unknown {
    const { name, address } = this.options;
    if (error instanceof ConnectionError) return engineUnreachable(name, this.withoutKey(error.message), { address });
    if (error instanceof NotUnderstood) {
      const beginning = this.shown(unescaped(error.beginning), MAX_BEGINNING_CHARS);
      return engineNotUnderstood(name, address, error.what, beginning);
    }
    if (!(error instanceof HttpError)) return error;
    return this.problemOf(error, this.shown(error.message, MAX_MESSAGE_CHARS) || NO_REASON);
  }

  private tooManyTokens(error: HttpError): Problem {
    const { name, address } = this.options;
    const hint = 'sampling.maxTokens does not fit the context of its model: lower it, then `srlm retry`.';
    return engineRefused(name, error.status, this.shown(error.message, MAX_MESSAGE_CHARS), { address, hint });
  }

  /** `message`: what the server says, on one line, without the key. */
  protected problemOf({ status, waitMs, isTransient, isExhausted }: HttpError, message: string): Problem {
    const { name, address } = this.options;
    if (isExhausted) return engineRefused(name, status, message, { address, hint: NO_MONEY });
    if (isTransient) return engineUnreachable(name, `${status} ${message}`, { waitMs, address });
    return engineRefused(name, status, message, { address });
  }
}

/** All of them, and the first failure only once none is under way any more. */
async function allOf<T>(work: Promise<T>[]): Promise<T[]> {
  const settled = await Promise.allSettled(work);
  return settled.map((one) => {
    if (one.status === 'rejected') throw one.reason;
    return one.value;
  });
}

const isNoAnswer = (error: unknown): error is HttpError | NotUnderstood | ConnectionError =>
  error instanceof HttpError || error instanceof NotUnderstood || error instanceof ConnectionError;

/** A refusal, or a reply that would be as large again: another try would only be billed. */
const isFinal = (error: HttpError | NotUnderstood): boolean =>
  error instanceof HttpError && (error.status >= 300 || error.isTooLarge);

const isSuspectText = ({ text, finish, reason }: Completion): boolean => isSuspect({ id: '', text, finish, reason });

const none = ({ n }: SampleRequest, finish: Completion['finish'], reason: string): Completion[] =>
  Array.from({ length: n }, () => ({ text: '', finish, reason, tokens: null, seed: null }));

const sentTokens = ({ max_tokens, max_completion_tokens }: Record<string, unknown>): number | null => {
  const sent = max_tokens ?? max_completion_tokens;
  return typeof sent === 'number' ? sent : null;
};

const tokensOf = (counted: number | undefined, most: number): number | null =>
  counted === undefined ? null : Math.min(counted, most);

/** The key as a server may repeat it: as it is, escaped in JSON, in an address, or in base64, also as a part of a text. */
function spellingsOf(key: string): string[] {
  const base64 = [0, 1, 2].flatMap((before) => {
    const bytes = Buffer.from(`${' '.repeat(before)}${key}`);
    // The characters at both ends depend on what is around the key.
    const inner = (text: string) =>
      text.replace(/=+$/, '').slice(before > 0 ? before + 1 : 0, bytes.length % 3 ? -1 : undefined);
    return [inner(bytes.toString('base64')), inner(bytes.toString('base64url'))];
  });
  const json = JSON.stringify(key).slice(1, -1);
  const inAddresses = [encodeURIComponent(key), encodeURI(key)];
  const lower = inAddresses.map((text) => text.replace(/%../g, (code) => code.toLowerCase()));
  return [...new Set([key, json, json.replaceAll('/', '\\/'), ...inAddresses, ...lower, ...base64])];
}

/** As JSON or HTML is read: what is not parsed may hold a key in escapes. */
const unescaped = (text: string): string =>
  text
    .replace(/\\u([0-9a-f]{4})/gi, (_, code) => String.fromCharCode(Number.parseInt(code, 16)))
    .replace(/&#(?:x([0-9a-f]{1,4})|(\d{1,5}));/gi, (_, hex, code) =>
      String.fromCharCode(hex ? Number.parseInt(hex, 16) : Number(code)),
    )
    .replace(/\\([/"\\])/g, '$1');

/** Also of the page of a proxy. */
const oneLine = (text: string): string => text.replace(/[\s\p{C}]+/gu, ' ').trim();

interface Bounds {
  /** Length of the text that the tokens make up. */
  bytes: number;
  /** What a request can have cost. */
  most: number;
}

/** A server is charged neither with more than was asked for nor with less than what came takes. */
function charge(cost: RequestCost, usage: Usage, bounds: { prompt: Bounds; completion: Bounds }): void {
  if (usage?.prompt_tokens === undefined || usage.completion_tokens === undefined) cost.estimated = true;
  cost.promptTokens += countOf(usage?.prompt_tokens, bounds.prompt);
  cost.completionTokens += countOf(usage?.completion_tokens, bounds.completion);
}

function countOf(counted: number | undefined, { bytes, most }: Bounds): number {
  const tokens = counted ?? Math.ceil(bytes / BYTES_PER_UNCOUNTED_TOKEN);
  return Math.min(Math.max(tokens, Math.ceil(bytes / MAX_TOKEN_BYTES)), most);
}
