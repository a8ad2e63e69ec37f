/**
 * Requests to an endpoint by the `openai` package: it knows the paths and the headers of OpenAI and of Azure. Retries and
 * the time that a reply may take are ours (http.ts); so is what fetches, since the fetch of Node takes most of the
 * processor time of a request, and has no bounds.
 */
import { Agent, type Dispatcher, EnvHttpProxyAgent } from 'undici';
import type { Send } from '../client.js';
import { AGENT_OPTIONS, exchange, type Reply } from '../http.js';

export interface Address {
  baseUrl: string;
  apiKey: string;
  headers: Record<string, string>;
  /** null: not an address of Azure's older API, whose paths hold the deployment. */
  azure: { apiVersion: string } | null;
}

/** What is used of the package's clients. Its own types differ between its ES modules and the others. */
interface Client {
  chat: { completions: { create(body: never, options: object): { asResponse(): Promise<unknown> } } };
}

/** The package's own limit is not used; this is the longest that a timer takes. */
const NEVER_MS = 2 ** 31 - 1;
const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/i;
const PROXY_VARIABLES = ['HTTP_PROXY', 'HTTPS_PROXY', 'http_proxy', 'https_proxy'];

let direct: Dispatcher | null = null;
let proxied: Dispatcher | null = null;

/** Through the proxy that the environment names, except to this host, which no proxy reaches. */
export function dispatcherFor(baseUrl: string): Dispatcher {
  const isProxied = PROXY_VARIABLES.some((name) => process.env[name]) && !LOOPBACK.test(new URL(baseUrl).hostname);
  if (!isProxied) {
    direct ??= new Agent(AGENT_OPTIONS);
    return direct;
  }
  proxied ??= new EnvHttpProxyAgent(AGENT_OPTIONS);
  return proxied;
}

/** The package is loaded with the first request: commands that send none start sooner. */
export function openaiSend(address: Address): Send {
  let opened: Promise<Client> | null = null;
  return async (_path, body, { headers: { authorization: _, ...headers }, maxBytes }, signal) => {
    opened ??= open(address);
    const openai = await opened;
    // The signal is ours alone: the package would leave a listener on it.
    const options = { headers, fetchOptions: { maxBytes, stop: signal } };
    const sent = await openai.chat.completions.create(body as never, options).asResponse();
    return (sent as Fetched).reply();
  };
}

async function open({ baseUrl, apiKey, headers, azure }: Address): Promise<Client> {
  const { AzureOpenAI, OpenAI } = await import('openai');
  const dispatcher = dispatcherFor(baseUrl);
  const options = {
    apiKey,
    // None of OpenAI's own variables is meant for this address.
    organization: null,
    project: null,
    adminAPIKey: null,
    maxRetries: 0,
    timeout: NEVER_MS,
    logLevel: 'off' as const,
    defaultHeaders: headers,
    fetch: (url: unknown, init: unknown) => Fetched.from(String(url), init as Init, dispatcher) as never,
  };
  if (!azure) return new OpenAI({ ...options, baseURL: baseUrl });
  return new AzureOpenAI({ ...options, baseURL: azureBase(baseUrl), apiVersion: azure.apiVersion });
}

/** The address of a resource, or of its API. */
const azureBase = (baseUrl: string): string =>
  /\/openai(\/deployments\/[^/]+)?$/.test(baseUrl) ? baseUrl : `${baseUrl}/openai`;

interface Init {
  method: string;
  headers: Headers;
  body: string;
  maxBytes: number;
  stop: AbortSignal;
}

/**
 * What the package takes for a response without an error, so that it neither reads a body without bounds nor turns an
 * error into one of its own.
 */
class Fetched {
  readonly ok = true;
  readonly status = 200;
  readonly url = '';
  readonly body = null;
  readonly headers = new Map<string, string>();

  private constructor(
    private readonly replied: Reply | null,
    private readonly error: unknown,
  ) {}

  static async from(url: string, { headers, body, maxBytes, stop }: Init, dispatcher: Dispatcher): Promise<Fetched> {
    try {
      const sent = Object.fromEntries(headers);
      return new Fetched(await exchange(url, { body, headers: sent, maxBytes, dispatcher }, stop), null);
    } catch (error) {
      return new Fetched(null, error);
    }
  }

  /** Throws what the exchange threw. */
  reply(): Reply {
    if (!this.replied) throw this.error;
    return this.replied;
  }
}
