/**
 * An address that speaks OpenAI's chat API and serves a model of its own: a hosted model, or a server that somebody
 * else runs. For texts that need not come from the model in training. Nobody can verify which weights are behind the
 * model's name; the deployment identifies them by `revision`.
 */
import pLimit from 'p-limit';
import type { EndpointEngine as EndpointConfig } from '../../contracts/deployment.js';
import { engineLacks, keyMissing } from '../../contracts/errors.js';
import type { ModelRef } from '../../contracts/refs.js';
import { ChatClient, type EngineClient } from '../client.js';
import type { Capabilities, Engine, EngineCheck } from '../engine.js';
import { statusOf } from '../http.js';

const RETRIES = 4;
const CHECK_TIMEOUT_MS = 10_000;
/** Nothing else may be in a header; an error of Node's own would show the key. */
const SENDABLE = /^[\x21-\x7e]+$/;

export class EndpointEngine implements Engine {
  readonly capabilities: Capabilities = { loadsWeights: false, promptLogprobs: false };
  readonly servers = [];
  readonly quietMs = 0;
  private client: ChatClient | null = null;

  constructor(
    readonly name: string,
    private readonly config: EndpointConfig,
  ) {}

  identity(): string {
    const { baseUrl, model, revision } = this.config;
    return `${baseUrl} ${model} ${revision}`;
  }

  money(promptTokens: number, completionTokens: number): number {
    const { inputPerMillion, outputPerMillion } = this.config.price ?? { inputPerMillion: 0, outputPerMillion: 0 };
    return (promptTokens * inputPerMillion + completionTokens * outputPerMillion) / 1_000_000;
  }

  async withClient<T>(
    _model: ModelRef | null,
    _deterministic: boolean,
    _signal: AbortSignal,
    work: (client: EngineClient) => Promise<T>,
  ): Promise<T> {
    this.client ??= this.open();
    return work(this.client);
  }

  async withPrivateClient<T>(): Promise<T> {
    throw engineLacks(this.name, 'load weights', 'ask');
  }

  async withPrivateServer<T>(): Promise<T> {
    throw engineLacks(this.name, 'load weights', 'serve');
  }

  async check(): Promise<EngineCheck> {
    const { baseUrl, apiKeyEnv } = this.config;
    const key = this.key();
    if (!key) return { ok: false, text: `${apiKeyEnv} is not set`, hint: 'Set it where the GPU worker runs.' };
    if (!SENDABLE.test(key))
      return {
        ok: false,
        text: `${apiKeyEnv} holds spaces, line breaks or other characters that no key has`,
        hint: 'Set it to the key alone.',
      };
    const hint = 'Start it, or fix baseUrl in temporal.config.ts.';
    try {
      const headers = { authorization: `Bearer ${key}` };
      const status = await statusOf(new URL(`${trimmed(baseUrl)}/models`), headers, CHECK_TIMEOUT_MS);
      if (status >= 300 && status < 400)
        return { ok: false, text: `${baseUrl} redirects to another address (${status})`, hint };
      if (status !== 401 && status !== 403) return { ok: true, text: `${baseUrl} answers`, hint: '' };
      const renew = `Set ${apiKeyEnv ?? 'apiKeyEnv'} to a valid key.`;
      return { ok: false, text: `${baseUrl} refuses the key (${status})`, hint: renew };
    } catch (error) {
      return { ok: false, text: `${baseUrl} does not answer (${(error as Error).message})`, hint };
    }
  }

  private open(): ChatClient {
    const { name, config } = this;
    const apiKey = this.key();
    if (!apiKey || !SENDABLE.test(apiKey)) throw keyMissing(name, config.apiKeyEnv!, !!apiKey);
    const { model, concurrency, seed, topK, timeoutSeconds } = config;
    return new ChatClient({
      name,
      baseUrl: trimmed(config.baseUrl),
      apiKey,
      model,
      limit: pLimit(concurrency),
      seeds: seed,
      topK,
      retry: { retries: RETRIES, timeoutMs: Math.ceil(1000 * timeoutSeconds) },
    });
  }

  /** undefined: the variable that should hold it is not set. */
  private key(): string | undefined {
    const { apiKeyEnv } = this.config;
    // A file that a variable is set from often ends with a line break.
    return apiKeyEnv ? process.env[apiKeyEnv]?.trim() : 'none';
  }
}

const trimmed = (url: string) => url.replace(/\/$/, '');
