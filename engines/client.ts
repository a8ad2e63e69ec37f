/**
 * EngineClient: what steps ask of an engine. ChatClient: the part of it that every server with OpenAI's chat API can do
 * (vLLM's field names where OpenAI has none).
 * A server is not trusted: its key is taken out of whatever it says, and what it counts is bounded by what was asked for.
 * Throws engine.unreachable and engine.wrong-weights (retried); engine.refused, engine.lacks, engine.batch-halved and
 * engine.out-of-memory (not).
 */
import type { LimitFunction } from 'p-limit';
import { z } from 'zod';
import {
  engineBatchHalved,
  engineLacks,
  engineOutOfMemory,
  engineRefused,
  engineUnreachable,
  engineWrongWeights,
} from '../contracts/errors.js';
import { encodable, type Message } from '../contracts/rows.js';
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
  /** An empty list: the prompt is longer than the model's context. */
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

/** `tokens` and `seed` are null where the engine does not report or take them. */
export interface Completion {
  text: string;
  finish: 'stop' | 'length' | 'other';
  tokens: number | null;
  seed: number | null;
}

/** What requests have cost; a client adds to it. GPU seconds are known of servers that report them. */
export interface RequestCost {
  promptTokens: number;
  completionTokens: number;
  gpuSeconds: number;
}

export interface ClientOptions {
  /** The engine's name in temporal.config.ts, for messages. */
  name: string;
  /** Ends in /v1. */
  baseUrl: string;
  apiKey: string;
  model: string;
  /** Shared by all clients of an engine: bounds their requests in flight. */
  limit: LimitFunction;
  /** The server takes `seed`, and `top_k`. */
  seeds: boolean;
  topK: boolean;
  retry: RetryOptions;
  /** The header of a reply that holds the GPU seconds of its request. */
  secondsHeader?: string;
}

const Tokens = z.int().min(0);
const Usage = z.object({ prompt_tokens: Tokens.optional(), completion_tokens: Tokens });
type Usage = z.infer<typeof Usage>;
const ChatReply = z.object({
  choices: z.array(
    z.object({
      message: z.object({ content: z.string().nullish() }),
      finish_reason: z.string().nullish(),
      completion_tokens: Tokens.optional(),
    }),
  ),
  usage: Usage.nullish(),
});

/** More than a token takes in JSON, however it is escaped, on average; and what a reply holds besides its texts. */
const BYTES_PER_TOKEN = 64;
const REPLY_OVERHEAD_BYTES = 2 ** 20;
/** More than a chat template adds to a prompt. */
const TEMPLATE_TOKENS = 4096;
/** A shorter key is too short to be one, and would be found everywhere. */
const MIN_KEY_CHARS = 8;

export class ChatClient implements EngineClient {
  constructor(protected readonly options: ClientOptions) {}

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
      if (isTooLong(error)) return [];
      throw error;
    }
    const { choices, usage } = this.decode(ChatReply, raw);
    // A token is at least a byte of the prompt, which some servers count once for each choice.
    const promptTokens = Buffer.byteLength(JSON.stringify(request.messages)) + TEMPLATE_TOKENS;
    charge(cost, usage, { prompt: request.n * promptTokens, completion: request.n * request.maxTokens });
    // Not retried: an endpoint that ignores `n` would ignore it again, and bill each try.
    if (choices.length !== request.n) {
      const found = `${choices.length} choice${choices.length === 1 ? '' : 's'}`;
      throw engineRefused(name, 200, `it returned ${found} for n=${request.n}`);
    }
    return choices.map((choice, i) => ({
      // No prompt and no training row could hold half of a character, which an endpoint cuts at its limit.
      text: encodable(this.withoutKey(choice.message.content ?? '')),
      finish: choice.finish_reason === 'stop' ? 'stop' : choice.finish_reason === 'length' ? 'length' : 'other',
      tokens: choice.completion_tokens ?? (request.n === 1 ? (usage?.completion_tokens ?? null) : null),
      seed: seeds ? request.seed + i : null,
    }));
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
    const reason = result.error.issues[0]?.message;
    throw engineUnreachable(this.options.name, `its reply does not have the form of OpenAI's API: ${reason}`);
  }

  /** Some servers repeat the key in an error, or to a model that repeats it: it must not get into a history or a store. */
  private withoutKey(text: string): string {
    const { apiKey } = this.options;
    return apiKey.length < MIN_KEY_CHARS ? text : text.replaceAll(apiKey, '[the key]');
  }

  private problem(error: unknown): unknown {
    const { name, model } = this.options;
    if (error instanceof ConnectionError) return engineUnreachable(name, this.withoutKey(error.message));
    if (!(error instanceof HttpError) || isTooLong(error)) return error;
    const { status, type, waitMs } = error;
    // Before it is cut: half a key would not be found.
    const message = this.withoutKey(error.message);
    if (type === 'batch_halved') return engineBatchHalved(name, message);
    if (type === 'out_of_memory') return engineOutOfMemory(name, message);
    if (status === 404 && type === 'wrong_model') return engineWrongWeights(name, model, 'other weights');
    if (isTransient(status)) return engineUnreachable(name, `${status} ${message}`.slice(0, 200), waitMs);
    return engineRefused(name, status, message.slice(0, 300));
  }
}

/** `most`: what a request can have cost. A server that reports more is charged with that. */
export function charge(
  cost: RequestCost | undefined,
  usage: Usage | null | undefined,
  most: { prompt: number; completion: number },
): void {
  if (!cost || !usage) return;
  cost.promptTokens += Math.min(usage.prompt_tokens ?? 0, most.prompt);
  cost.completionTokens += Math.min(usage.completion_tokens, most.completion);
}

/** The prompt does not fit the context: OpenAI's code, or the wording of vLLM and of the built-in server. */
function isTooLong(error: unknown): boolean {
  if (!(error instanceof HttpError) || error.status !== 400) return false;
  return error.code === 'context_length_exceeded' || /context|maximum.*length/i.test(error.message);
}
