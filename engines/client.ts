/**
 * Client of an engine that speaks OpenAI's API with vLLM's field names: the built-in server, vLLM, hosted models.
 * Samples texts and scores answers. At most `concurrency` requests in flight per client.
 * Throws engine.unreachable and engine.wrong-weights (retried), engine.refused and engine.key-missing (not).
 */
import pLimit, { type LimitFunction } from 'p-limit';
import { z } from 'zod';
import {
  engineBatchHalved,
  engineOutOfMemory,
  engineRefused,
  engineUnreachable,
  engineWrongWeights,
} from '../contracts/errors.js';
import type { Message } from '../contracts/records.js';
import { HttpError, isPassing, NoAnswer, type Patience, postJson } from './http.js';

export interface Endpoint {
  /** The engine's name in temporal.config.ts, for messages. */
  name: string;
  /** Ends in /v1. */
  baseUrl: string;
  apiKey: string;
  model: string;
  concurrency: number;
  /** Takes a seed. */
  seed: boolean;
  topK: boolean;
  builtin: boolean;
  /** Silence after which a hosted endpoint is asked again; left out: no bound. */
  timeoutSeconds?: number;
}

export interface ChatRequest {
  messages: Message[];
  n: number;
  seed: number;
  temperature: number;
  topP: number;
  topK: number;
  maxTokens: number;
  stop: string[];
  /** The last message is the beginning of the reply. */
  continueReply?: boolean;
  requestId: string;
}

/** What requests cost; the client adds to it. GPU seconds are known of the built-in server alone. */
export interface Cost {
  promptTokens: number;
  completionTokens: number;
  gpuSeconds: number;
}

export interface Text {
  text: string;
  finish: 'stop' | 'length' | 'other';
  tokens: number | null;
  seed: number | null;
}

// Whether the built-in server lives is told by its supervisor, not by a clock; a failed shard looks at it again.
const BUILTIN: Patience = { retries: 0, timeoutMs: 0 };
const HOSTED_RETRIES = 4;

const Usage = z.object({ prompt_tokens: z.int().optional(), completion_tokens: z.int() });
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
const CompletionReply = z.object({
  usage: Usage.nullish(),
  choices: z.array(
    z.object({ index: z.int(), logprobs: z.object({ token_logprobs: z.array(z.number().nullable()) }) }),
  ),
});
const TokenizeReply = z.object({ tokens: z.array(z.union([z.int(), z.array(z.int())])), max_model_len: z.int() });

export class EngineClient {
  private readonly limit: LimitFunction;

  constructor(readonly endpoint: Endpoint) {
    this.limit = pLimit(endpoint.concurrency);
  }

  /** `n` texts for one prompt; an empty list when the prompt is longer than the model's context. */
  async chat(request: ChatRequest, signal: AbortSignal, cost?: Cost): Promise<Text[]> {
    const { endpoint } = this;
    const body = {
      model: endpoint.model,
      messages: request.messages,
      n: request.n,
      temperature: request.temperature,
      top_p: request.topP,
      max_tokens: request.maxTokens,
      ...(endpoint.topK && request.topK > 0 ? { top_k: request.topK } : {}),
      ...(endpoint.seed ? { seed: request.seed } : {}),
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
    if (choices.length !== request.n) {
      // An endpoint that takes no `n` takes none the next time either, and each try is paid for.
      throw engineRefused(endpoint.name, 200, `${choices.length} texts came where n was ${request.n}`);
    }
    return choices.map((choice, i) => ({
      text: choice.message.content ?? '',
      finish: choice.finish_reason === 'stop' ? 'stop' : choice.finish_reason === 'length' ? 'length' : 'other',
      tokens: choice.completion_tokens ?? (request.n === 1 ? (usage?.completion_tokens ?? null) : null),
      seed: endpoint.seed ? request.seed + i : null,
    }));
  }

  /**
   * Mean log-probability (nats per token) of `suffix` after the chat prompt and each of `prefixes_K`. The suffix is
   * tokenized by itself, so that all candidates are judged on the very same tokens. null: longer than the context.
   */
  async scoreSuffix(
    messages: Message[],
    prefixes_K: string[],
    suffix: string,
    requestId: string,
    signal: AbortSignal,
    cost?: Cost,
  ): Promise<{ logprobNats_K: (number | null)[]; tokens: number }> {
    const [head, tail, bodies_K] = await Promise.all([
      this.tokenize({ messages, add_generation_prompt: true }, signal),
      this.tokenize({ prompt: suffix, add_special_tokens: false }, signal),
      this.tokenizeAll(prefixes_K, signal),
    ]);
    const tokens = tail.tokens.length;
    const prompts_K = bodies_K.map((body) => [...head.tokens, ...body, ...tail.tokens]);
    const fits = prompts_K.flatMap((prompt, k) => (prompt.length < head.maxModelLen ? [k] : []));
    const logprobNats_K = new Array<number | null>(prefixes_K.length).fill(null);
    if (fits.length === 0 || tokens === 0) return { logprobNats_K, tokens };
    const starts = fits.map((k) => prompts_K[k]!.length - tokens);
    const raw = await this.post(
      '/completions',
      {
        model: this.endpoint.model,
        prompt: fits.map((k) => prompts_K[k]!),
        echo: true,
        logprobs: 1,
        // vLLM wants at least one new token; it is not looked at.
        max_tokens: this.endpoint.builtin ? 0 : 1,
        temperature: 0,
        ...(this.endpoint.builtin ? { logprobs_from: starts } : {}),
      },
      signal,
      requestId,
      cost,
    );
    const { choices, usage } = this.decode(CompletionReply, raw);
    charge(cost, usage);
    for (const { index, logprobs } of choices) {
      const at = starts[index]!;
      const answer_T = logprobs.token_logprobs.slice(at, at + tokens);
      if (answer_T.length !== tokens || answer_T.some((value) => value === null)) {
        throw engineRefused(this.endpoint.name, 200, 'it gives no log-probabilities of the prompt');
      }
      logprobNats_K[fits[index]!] = Math.min(0, answer_T.reduce<number>((sum, value) => sum + value!, 0) / tokens);
    }
    return { logprobNats_K, tokens };
  }

  private async tokenizeAll(texts: string[], signal: AbortSignal): Promise<number[][]> {
    if (!this.endpoint.builtin) {
      return Promise.all(
        texts.map(async (prompt) => (await this.tokenize({ prompt, add_special_tokens: false }, signal)).tokens),
      );
    }
    const raw = await this.post('/../tokenize', { prompt: texts, add_special_tokens: false }, signal);
    return this.decode(TokenizeReply, raw).tokens as number[][];
  }

  private async tokenize(body: object, signal: AbortSignal): Promise<{ tokens: number[]; maxModelLen: number }> {
    const raw = await this.post('/../tokenize', { model: this.endpoint.model, ...body }, signal);
    const reply = this.decode(TokenizeReply, raw);
    return { tokens: reply.tokens as number[], maxModelLen: reply.max_model_len };
  }

  private post(path: string, body: object, signal: AbortSignal, requestId?: string, cost?: Cost): Promise<unknown> {
    const { baseUrl, apiKey, builtin, timeoutSeconds } = this.endpoint;
    const patience = builtin ? BUILTIN : { retries: HOSTED_RETRIES, timeoutMs: 1000 * (timeoutSeconds ?? 0) };
    // A row's id may hold anything; a header may not.
    const id = requestId?.replace(/[^\x20-\x7e]/g, '?').slice(0, 200);
    const headers = { authorization: `Bearer ${apiKey}`, ...(id ? { 'x-request-id': id } : {}) };
    const onHeaders = (answered: Record<string, unknown>) => {
      if (cost && builtin) cost.gpuSeconds += Number(answered['x-compute-seconds'] ?? 0);
    };
    return this.limit(async () => {
      try {
        return await postJson(new URL(baseUrl + path), body, headers, patience, signal, onHeaders);
      } catch (error) {
        throw this.problem(error);
      }
    });
  }

  private problem(error: unknown): unknown {
    const { name, model } = this.endpoint;
    if (error instanceof NoAnswer) return engineUnreachable(name, error.message);
    if (!(error instanceof HttpError) || isTooLong(error)) return error;
    const { status, message, type, waitMs } = error;
    if (type === 'batch_halved') return engineBatchHalved(name, message);
    if (type === 'out_of_memory') return engineOutOfMemory(name, message);
    if (status === 404 && type === 'wrong_model') return engineWrongWeights(name, model, 'other weights');
    if (isPassing(status)) return engineUnreachable(name, `${status} ${message}`.slice(0, 200), waitMs);
    return engineRefused(name, status, message.slice(0, 300));
  }

  private decode<T>(schema: z.ZodType<T>, raw: unknown): T {
    const result = schema.safeParse(raw);
    if (result.success) return result.data;
    throw engineUnreachable(this.endpoint.name, `an answer not in OpenAI's form: ${result.error.issues[0]?.message}`);
  }
}

function charge(cost: Cost | undefined, usage: z.infer<typeof Usage> | null | undefined): void {
  if (!cost || !usage) return;
  cost.promptTokens += usage.prompt_tokens ?? 0;
  cost.completionTokens += usage.completion_tokens;
}

/** The prompt does not fit the context: OpenAI's code, or the wording of vLLM and the built-in server. */
function isTooLong(error: unknown): boolean {
  if (!(error instanceof HttpError) || error.status !== 400) return false;
  return error.code === 'context_length_exceeded' || /context|maximum.*length/i.test(error.message);
}
