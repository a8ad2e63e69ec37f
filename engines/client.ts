/**
 * EngineClient: what steps ask of an engine. ChatClient: the part of it that every server with OpenAI's chat API can do
 * (vLLM's field names where OpenAI has none).
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
import type { Message } from '../contracts/rows.js';
import { ConnectionError, type Headers, HttpError, isTransient, postJson, type RetryOptions } from './http.js';

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

const Usage = z.object({ prompt_tokens: z.int().optional(), completion_tokens: z.int() });
type Usage = z.infer<typeof Usage>;
const ChatReply = z.object({
  choices: z.array(
    z.object({
      message: z.object({ content: z.string().nullish() }),
      finish_reason: z.string().nullish(),
      completion_tokens: z.int().optional(),
    }),
  ),
  usage: Usage.nullish(),
});

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
    let raw: unknown;
    try {
      raw = await this.post('/chat/completions', body, signal, request.requestId, cost);
    } catch (error) {
      if (isTooLong(error)) return [];
      throw error;
    }
    const { choices, usage } = this.decode(ChatReply, raw);
    charge(cost, usage);
    // Not retried: an endpoint that ignores `n` would ignore it again, and bill each try.
    if (choices.length !== request.n) {
      const found = `${choices.length} choice${choices.length === 1 ? '' : 's'}`;
      throw engineRefused(name, 200, `it returned ${found} for n=${request.n}`);
    }
    return choices.map((choice, i) => ({
      text: choice.message.content ?? '',
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
    requestId?: string,
    cost?: RequestCost,
  ): Promise<unknown> {
    const { baseUrl, apiKey, limit, retry, secondsHeader } = this.options;
    // The id of a row may hold any character, a header may not.
    const id = requestId?.replace(/[^\x20-\x7e]/g, '?').slice(0, 200);
    const headers = { authorization: `Bearer ${apiKey}`, ...(id ? { 'x-request-id': id } : {}) };
    const onHeaders = (replied: Headers) => {
      if (cost && secondsHeader) cost.gpuSeconds += Number(replied[secondsHeader] ?? 0);
    };
    return limit(async () => {
      try {
        return await postJson(new URL(baseUrl + path), body, headers, retry, signal, onHeaders);
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

  private problem(error: unknown): unknown {
    const { name, model } = this.options;
    if (error instanceof ConnectionError) return engineUnreachable(name, error.message);
    if (!(error instanceof HttpError) || isTooLong(error)) return error;
    const { status, message, type, waitMs } = error;
    if (type === 'batch_halved') return engineBatchHalved(name, message);
    if (type === 'out_of_memory') return engineOutOfMemory(name, message);
    if (status === 404 && type === 'wrong_model') return engineWrongWeights(name, model, 'other weights');
    if (isTransient(status)) return engineUnreachable(name, `${status} ${message}`.slice(0, 200), waitMs);
    return engineRefused(name, status, message.slice(0, 300));
  }
}

export function charge(cost: RequestCost | undefined, usage: Usage | null | undefined): void {
  if (!cost || !usage) return;
  cost.promptTokens += usage.prompt_tokens ?? 0;
  cost.completionTokens += usage.completion_tokens;
}

/** The prompt does not fit the context: OpenAI's code, or the wording of vLLM and of the built-in server. */
function isTooLong(error: unknown): boolean {
  if (!(error instanceof HttpError) || error.status !== 400) return false;
  return error.code === 'context_length_exceeded' || /context|maximum.*length/i.test(error.message);
}
