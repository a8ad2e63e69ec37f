/**
 * Client of the built-in server: OpenAI's chat API, and log-probabilities of a prompt through its own fields. Besides what
 * ChatClient throws: engine.wrong-weights (retried), engine.batch-halved and engine.out-of-memory (not).
 */
import { z } from 'zod';
import {
  engineBatchHalved,
  engineOutOfMemory,
  engineRefused,
  engineWrongWeights,
  type Problem,
} from '../../contracts/errors.js';
import { Usage } from '../chat-reply.js';
import { ChatClient, type Limit, type LogprobRequest, type Logprobs, PLAIN, type RequestCost } from '../client.js';
import { Dialect } from '../dialect.js';
import type { HttpError } from '../http.js';
import { NotUnderstood } from '../reply-body.js';

const LogprobReply = z.object({
  usage: Usage,
  choices: z.array(
    z.object({ index: z.int(), logprobs: z.object({ token_logprobs: z.array(z.number().nullable()) }) }),
  ),
});
const TokenizeReply = z.object({ tokens: z.array(z.union([z.int(), z.array(z.int())])), max_model_len: z.int() });

/** The name that the server gives a model. */
export const modelName = (sha256: string): string => `srlm-${sha256}`;

export class BuiltinClient extends ChatClient {
  /** `stalled` aborts when the server is given up, with the reason. */
  constructor(
    name: string,
    server: { baseUrl: string; token: string },
    sha256: string,
    limit: Limit,
    private readonly stalled?: AbortSignal,
  ) {
    super({
      name,
      baseUrl: `${server.baseUrl}/v1`,
      apiKey: server.token,
      model: modelName(sha256),
      limit,
      dialect: new Dialect(PLAIN),
      ownWeights: true,
      // Its supervisor finds out whether the server is alive, not a timeout; the next attempt of a step asks for it.
      retry: { retries: 0, timeoutMs: 0 },
      secondsHeader: 'x-compute-seconds',
    });
  }

  override async logprobs(
    { messages, prefixes_K, suffix, requestId }: LogprobRequest,
    signal: AbortSignal,
    cost?: RequestCost,
  ): Promise<Logprobs> {
    const [head, bodies] = await Promise.all([
      this.tokenize({ messages, add_generation_prompt: true }, signal),
      this.tokenize({ prompt: [suffix, ...prefixes_K], add_special_tokens: false }, signal),
    ]);
    const [tail, ...bodies_K] = bodies.tokens as number[][];
    const tokens = tail!.length;
    const prompts_K = bodies_K.map((body) => [...(head.tokens as number[]), ...body, ...tail!]);
    const fits = prompts_K.flatMap((prompt, k) => (prompt.length < head.max_model_len ? [k] : []));
    const nats_KT = new Array<number[] | null>(prefixes_K.length).fill(null);
    if (fits.length === 0 || tokens === 0) return { nats_KT };
    const starts = fits.map((k) => prompts_K[k]!.length - tokens);
    const body = {
      model: this.options.model,
      prompt: fits.map((k) => prompts_K[k]!),
      echo: true,
      logprobs: 1,
      logprobs_from: starts,
      max_tokens: 0,
      temperature: 0,
    };
    const { choices, usage } = await this.post('/completions', body, decode(LogprobReply), signal, { requestId, cost });
    const asked = fits.reduce((sum, k) => sum + prompts_K[k]!.length, 0);
    if (cost) cost.promptTokens += Math.min(usage?.prompt_tokens ?? asked, asked);
    if (new Set(choices.map(({ index }) => index)).size !== fits.length || choices.length !== fits.length)
      throw engineRefused(this.options.name, 200, `it does not give each of ${fits.length} log-probabilities once`);
    for (const { index, logprobs } of choices) {
      const at = starts[index]!;
      const answer_T = logprobs.token_logprobs.slice(at, at + tokens);
      if (answer_T.length !== tokens || answer_T.some((value) => value === null))
        throw engineRefused(this.options.name, 200, 'it gives no log-probabilities of the prompt');
      nats_KT[fits[index]!] = answer_T.map((value) => Math.min(0, value!));
    }
    return { nats_KT };
  }

  protected override problemOf(error: HttpError, message: string): Problem {
    const { name, model } = this.options;
    if (error.type === 'batch_halved') return engineBatchHalved(name, message);
    if (error.type === 'out_of_memory') return engineOutOfMemory(name, message);
    if (error.status === 404 && error.type === 'wrong_model') return engineWrongWeights(name, model, 'other weights');
    return super.problemOf(error, message);
  }

  protected override send<T>(...[path, body, read, signal, sent]: Parameters<ChatClient['send']>): Promise<T> {
    const either = this.stalled ? AbortSignal.any([signal, this.stalled]) : signal;
    return super.send(path, body, read as (value: unknown) => T, either, sent);
  }

  private tokenize(body: object, signal: AbortSignal): Promise<z.infer<typeof TokenizeReply>> {
    return this.post('/../tokenize', body, decode(TokenizeReply), signal);
  }
}

/** Throws NotUnderstood. */
const decode =
  <T>(schema: z.ZodType<T>) =>
  (value: unknown): T => {
    const result = schema.safeParse(value);
    if (result.success) return result.data;
    const { path, message } = result.error.issues[0]!;
    throw new NotUnderstood(`JSON of another form (${[...path, message].join(': ')})`, '');
  };
