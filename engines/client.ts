/**
 * EngineClient: what steps ask of an engine. ChatClient: the part of it that every server with OpenAI's chat API can do
 * (vLLM's field names where OpenAI has none).
 * A server is not trusted: its key is taken out of whatever it says, and what it counts is bounded by what was asked for
 * and by what came.
 * Throws engine.unreachable (retried), engine.refused and engine.lacks (not).
 */
import { z } from 'zod';
import { engineLacks, engineRefused, engineUnreachable, type Problem } from '../contracts/errors.js';
import { type Candidate, encodable, type Message } from '../contracts/rows.js';
import {
  ConnectionError,
  type Headers,
  HttpError,
  isTransient,
  MAX_REPLY_BYTES,
  postJson,
  type RetryOptions,
} from './http.js';

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
  /** Mean over the tokens of the suffix, in nats per token. null: the text is longer than the model's context. */
  logprobNats_K: (number | null)[];
  /** Length of the suffix. */
  tokens: number;
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
}

/** What p-limit returns. Its own type is an ES module's, which the types of a CommonJS package cannot import. */
export type Limit = <T>(work: () => Promise<T>) => Promise<T>;

export interface ClientOptions {
  /** The engine's name in temporal.config.ts, for messages. */
  name: string;
  /** Ends in /v1. */
  baseUrl: string;
  apiKey: string;
  model: string;
  /** Shared by all clients of an engine: bounds their requests in flight. */
  limit: Limit;
  /** The server takes `seed`, and `top_k`. */
  seeds: boolean;
  topK: boolean;
  retry: RetryOptions;
  /** The header of a reply that holds the GPU seconds of its request. */
  secondsHeader?: string;
}

/** What is no count counts as not reported: the texts are paid for, and a second request would be, too. */
const Tokens = z.int().min(0).optional().catch(undefined);
export const Usage = z.object({ prompt_tokens: Tokens, completion_tokens: Tokens }).nullish().catch(null);
type Usage = z.infer<typeof Usage>;
/** The choices are decoded once they are known to be as many as were asked for: a hostile reply may hold millions. */
const ChatReply = z.object({ choices: z.array(z.unknown()), usage: Usage });
const Choice = z.object({
  message: z.object({ content: z.string().nullish() }),
  finish_reason: z.string().nullish(),
  completion_tokens: Tokens,
});

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

export class ChatClient implements EngineClient {
  private readonly spellings: readonly string[];

  constructor(protected readonly options: ClientOptions) {
    this.spellings = options.apiKey.length < MIN_KEY_CHARS ? [] : spellingsOf(options.apiKey);
  }

  async sample(request: SampleRequest, signal: AbortSignal, cost?: RequestCost): Promise<Completion[]> {
    const { name, model, seeds, topK } = this.options;
    const body = {
      model,
      messages: request.messages,
      n: request.n,
      temperature: request.temperature,
      top_p: request.topP,
      max_tokens: request.maxTokens,
      ...(topK && request.topK > 0 ? { top_k: request.topK } : {}),
      ...(seeds ? { seed: request.seed } : {}),
      ...(request.stop.length > 0 ? { stop: request.stop } : {}),
      ...(request.continueReply ? { continue_final_message: true, add_generation_prompt: false } : {}),
    };
    const maxBytes = REPLY_OVERHEAD_BYTES + request.n * request.maxTokens * BYTES_PER_TOKEN;
    let raw: unknown;
    try {
      raw = await this.post('/chat/completions', body, signal, { requestId: request.requestId, cost, maxBytes });
    } catch (error) {
      if (!isTooLong(error)) throw error;
      const none = { text: '', finish: 'refused', reason: TOO_LONG, tokens: null, seed: null } as const;
      return Array.from({ length: request.n }, () => none);
    }
    const { choices: raw_K, usage } = this.decode(ChatReply, raw);
    // Not retried: an endpoint that ignores `n` would ignore it again, and bill each try.
    if (raw_K.length !== request.n) {
      const found = `${raw_K.length} choice${raw_K.length === 1 ? '' : 's'}`;
      throw engineRefused(name, 200, `it returned ${found} for n=${request.n}`);
    }
    const choices = raw_K.map((choice) => this.decode(Choice, choice));
    // No prompt and no training row could hold half of a character, which an endpoint cuts at its limit.
    const texts_K = choices.map(({ message }) => encodable(this.withoutKey(message.content ?? '')));
    // A token is at least a byte of the prompt, which some servers count once for each choice.
    const promptBytes = Buffer.byteLength(JSON.stringify(request.messages));
    const bounds = {
      prompt: { bytes: promptBytes, most: request.n * (promptBytes + TEMPLATE_TOKENS) },
      completion: { bytes: Buffer.byteLength(texts_K.join('')), most: request.n * request.maxTokens },
    };
    if (cost) charge(cost, usage, bounds);
    return choices.map(({ finish_reason, completion_tokens }, k) => {
      const counted = completion_tokens ?? (request.n === 1 ? usage?.completion_tokens : undefined);
      return {
        text: texts_K[k]!,
        finish: finish_reason === 'stop' || finish_reason === 'length' ? finish_reason : 'other',
        reason: null,
        tokens: counted === undefined ? null : Math.min(counted, request.maxTokens),
        seed: seeds ? request.seed + k : null,
      };
    });
  }

  async logprobs(_request: LogprobRequest, _signal: AbortSignal, _cost?: RequestCost): Promise<Logprobs> {
    throw engineLacks(this.options.name, 'give log-probabilities of a prompt', 'the selector');
  }

  /** The reply to one request, not yet decoded. `path` is relative to baseUrl. */
  protected post(
    path: string,
    body: object,
    signal: AbortSignal,
    { requestId, cost, maxBytes = MAX_REPLY_BYTES }: { requestId?: string; cost?: RequestCost; maxBytes?: number } = {},
  ): Promise<unknown> {
    const { baseUrl, apiKey, limit, retry, secondsHeader } = this.options;
    // The id of a row may hold any character, a header may not.
    const id = requestId?.replace(/[^\x20-\x7e]/g, '?').slice(0, 200);
    const headers = { authorization: `Bearer ${apiKey}`, ...(id ? { 'x-request-id': id } : {}) };
    const onHeaders = (replied: Headers) => {
      const seconds = secondsHeader ? Number(replied[secondsHeader] ?? 0) : 0;
      if (cost && seconds > 0 && Number.isFinite(seconds)) cost.gpuSeconds += seconds;
    };
    return limit(async () => {
      try {
        const sent = { body, headers, maxBytes: Math.min(maxBytes, MAX_REPLY_BYTES) };
        return await postJson(new URL(baseUrl + path), sent, retry, signal, onHeaders);
      } catch (error) {
        throw this.problem(error);
      }
    });
  }

  protected decode<T>(schema: z.ZodType<T>, raw: unknown): T {
    const result = schema.safeParse(raw);
    if (result.success) return result.data;
    const { path, message } = result.error.issues[0]!;
    const reason = [...path, message].join(': ');
    throw engineUnreachable(this.options.name, `its reply does not have the form of OpenAI's API: ${reason}`);
  }

  /** Some servers repeat the key in an error, or to a model that repeats it: it must not get into a history or a store. */
  private withoutKey(text: string): string {
    return this.spellings.reduce((left, spelling) => left.replaceAll(spelling, '[the key]'), text);
  }

  private problem(error: unknown): unknown {
    const { name } = this.options;
    if (error instanceof ConnectionError) return engineUnreachable(name, this.withoutKey(error.message));
    if (!(error instanceof HttpError) || isTooLong(error)) return error;
    // The key is taken out before the message is cut: half a key would not be found.
    const message = oneLine(this.withoutKey(error.message)).slice(0, MAX_MESSAGE_CHARS);
    return this.problemOf(error, message || messageWithout(error.status));
  }

  /** `message`: what the server says, on one line, without the key. */
  protected problemOf({ status, waitMs }: HttpError, message: string): Problem {
    const { name } = this.options;
    if (isTransient(status)) return engineUnreachable(name, `${status} ${message}`, waitMs);
    return engineRefused(name, status, message);
  }
}

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

/** Also of the page of a proxy. */
const oneLine = (text: string): string => text.replace(/[\s\p{C}]+/gu, ' ').trim();

const messageWithout = (status: number): string =>
  status >= 300 && status < 400
    ? 'it redirects to another address, to which no key is sent; set baseUrl to the one that answers'
    : 'without a reason';

interface Bounds {
  /** Length of the text that the tokens make up. */
  bytes: number;
  /** What a request can have cost. */
  most: number;
}

/** A server is charged neither with more than was asked for nor with less than what came takes. */
function charge(cost: RequestCost, usage: Usage, bounds: { prompt: Bounds; completion: Bounds }): void {
  cost.promptTokens += countOf(usage?.prompt_tokens, bounds.prompt);
  cost.completionTokens += countOf(usage?.completion_tokens, bounds.completion);
}

function countOf(counted: number | undefined, { bytes, most }: Bounds): number {
  const tokens = counted ?? Math.ceil(bytes / BYTES_PER_UNCOUNTED_TOKEN);
  return Math.min(Math.max(tokens, Math.ceil(bytes / MAX_TOKEN_BYTES)), most);
}

/** The prompt does not fit the context: OpenAI's code, or the wording of vLLM and of the built-in server. */
function isTooLong(error: unknown): boolean {
  if (!(error instanceof HttpError) || error.status !== 400) return false;
  // This pattern takes as long as the square of the message's length, which is anything.
  const beginning = error.message.slice(0, 10 * MAX_MESSAGE_CHARS);
  return error.code === 'context_length_exceeded' || /context|maximum.*length/i.test(beginning);
}
