/**
 * An address that speaks OpenAI's chat API and serves a model of its own: a hosted model, or a server that somebody
 * else runs. For texts that need not come from the model in training. Nobody can verify which weights are behind the
 * model's name; the deployment identifies them by `revision`.
 */
import pLimit from 'p-limit';
import type { EndpointEngine as EndpointConfig } from '../../contracts/deployment.js';
import { engineLacks, keyMissing, Problem } from '../../contracts/errors.js';
import type { ModelRef } from '../../contracts/refs.js';
import { canonical } from '../../storage/objects.js';
import { ChatClient, type ClientOptions, type EngineClient } from '../client.js';
import { Dialect } from '../dialect.js';
import type { Capabilities, Engine, EngineCheck, EngineTrial } from '../engine.js';
import { statusOf } from '../http.js';
import { addressOf, azureOf } from './address.js';
import { featuresOf } from './features.js';
import { dispatcherFor, openaiSend } from './transport.js';

const RETRIES = 4;
const CHECK_TIMEOUT_MS = 10_000;
/** A model that reasons takes its time, also for a few tokens. */
const TRIAL_TIMEOUT_MS = 30_000;
/** A command does not wait for an endpoint that is busy: the step does. */
const TRIAL_PAUSE_MS = 2000;
/** Nothing else may be in a header; an error of Node's own would show the key. */
const SENDABLE = /^[\x21-\x7e]+$/;

export class EndpointEngine implements Engine {
  readonly capabilities: Capabilities = { loadsWeights: false, promptLogprobs: false };
  readonly servers = [];
  readonly quietMs = 0;
  /** What all its clients share. */
  private options: ClientOptions | null = null;

  constructor(
    readonly name: string,
    private readonly config: EndpointConfig,
  ) {}

  identity(): string {
    const { baseUrl, model, revision, extraBody } = this.config;
    const name = `${baseUrl} ${model} ${revision}`;
    return extraBody ? `${name} ${canonical(extraBody)}` : name;
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
    this.options ??= this.open();
    return work(new ChatClient(this.options));
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
      const headers = { authorization: `Bearer ${key}`, ...this.config.headers };
      const url = addressOf(baseUrl);
      const status = await statusOf(new URL(`${url}/models`), headers, CHECK_TIMEOUT_MS, dispatcherFor(url));
      if (status >= 300 && status < 400)
        return { ok: false, text: `${baseUrl} redirects to another address (${status})`, hint };
      if (status !== 401 && status !== 403) return { ok: true, text: `${baseUrl} answers`, hint: '' };
      const renew = `Set ${apiKeyEnv ?? 'apiKeyEnv'} to a valid key.`;
      return { ok: false, text: `${baseUrl} refuses the key (${status})`, hint: renew };
    } catch (error) {
      return { ok: false, text: `${baseUrl} does not answer (${(error as Error).message})`, hint };
    }
  }

  async tryOut(): Promise<EngineTrial | null> {
    const key = this.key();
    if (!key || !SENDABLE.test(key)) return null;
    const { n, seed, topK, maxTokensField, extraBody } = this.config;
    const retry = { retries: 1, timeoutMs: TRIAL_TIMEOUT_MS, maxPauseMs: TRIAL_PAUSE_MS };
    const open = (options: ClientOptions) => new ChatClient(options);
    const signal = new AbortController().signal;
    try {
      const settings = { n, seed, topK, maxTokensField, extraBody };
      const options = this.open();
      const { takes, takesNot, remarks, silence } = await featuresOf(settings, { ...options, retry }, open, signal);
      if (silence !== null) {
        const text = `Engine "${this.name}" at ${options.address} sent no text in reply to a tiny request: ${silence}.`;
        return { ok: false, text, hint: 'Look at the endpoint.', remarks: [text] };
      }
      const parts = [
        ...(takes.length > 0 ? [`takes ${takes.join(', ')}`] : []),
        ...(takesNot.length > 0 ? [`does not take ${takesNot.join(', ')}`] : []),
      ];
      const notTaken = takesNot.map((what) => `It does not take ${what}.`);
      const text = [parts.join('; ') || 'answers', ...remarks.map((remark) => remark.replace(/\.$/, ''))].join('; ');
      return { ok: true, text, hint: '', remarks: [...notTaken, ...remarks] };
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      const hint = error.retry ? 'Try again later.' : error.hint.replace(/[,;] then `srlm retry`/, '');
      return { ok: false, text: error.reason, hint, remarks: [error.reason] };
    }
  }

  private open(): ClientOptions {
    const { name, config } = this;
    const apiKey = this.key();
    if (!apiKey || !SENDABLE.test(apiKey)) throw keyMissing(name, config.apiKeyEnv!, !!apiKey);
    const { model, concurrency, n, seed, topK, maxTokensField, extraBody, headers = {}, timeoutSeconds } = config;
    const baseUrl = addressOf(config.baseUrl);
    return {
      name,
      baseUrl,
      address: `${baseUrl}/chat/completions`,
      apiKey,
      model,
      limit: pLimit(concurrency),
      dialect: new Dialect({ n, seed, topK, maxTokensField, extraBody }, (what) => say(name, what)),
      answered: { at: Number.NEGATIVE_INFINITY },
      retry: { retries: RETRIES, timeoutMs: Math.ceil(1000 * timeoutSeconds) },
      send: openaiSend({ baseUrl, apiKey, headers, azure: azureOf(baseUrl, config.azure) }),
    };
  }

  /** undefined: the variable that should hold it is not set. */
  private key(): string | undefined {
    const { apiKeyEnv } = this.config;
    // A file that a variable is set from often ends with a line break.
    return apiKeyEnv ? process.env[apiKeyEnv]?.trim() : 'none';
  }
}

/** In the log of the process, once. */
const say = (name: string, what: string) => process.emitWarning(`Engine ${name}: ${what}`, 'srlm');
