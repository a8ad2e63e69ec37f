/**
 * The deployment: what temporal.config.ts sets for one installation. Never part of a run and never in history, except
 * the few facts in `WorkflowConfig`, which the client passes on so that workflow code knows where to send work.
 * What Temporal's SDK takes (plugins, data converter, interceptors, runtime) is passed on as it is.
 * The connection to Temporal comes from Temporal's own environment configuration (TEMPORAL_ADDRESS, profiles, TLS, keys).
 */
import { hostname } from 'node:os';
import type { ClientInterceptors, ClientPlugin, ConnectionPlugin, DataConverter } from '@temporalio/client';
import type {
  BundlerPlugin,
  NativeConnectionPlugin,
  RuntimeOptions,
  WorkerInterceptors,
  WorkerOptions,
  WorkerPlugin,
} from '@temporalio/worker';
import { z } from 'zod';
import { Name } from './spec.js';
import { HeartbeatSeconds, MaxAttempts, QueueName } from './workflow-config.js';

const BuiltinEngine = z.strictObject({
  kind: z.literal('builtin'),
  device: z.enum(['auto', 'cpu', 'cuda']).default('auto'),
  dtype: z.enum(['auto', 'bfloat16', 'float32']).default('auto'),
  threads: z.int().min(1).optional(),
  maxBatch: z.int().min(1).optional().describe('sequences decoded together'),
  concurrency: z.int().min(1).default(256).describe('requests in flight from one worker'),
});

const OWN_FIELDS = ['model', 'messages', 'n', 'seed', 'stream'];
const OWN_HEADERS = [
  'authorization',
  'api-key',
  'host',
  'content-length',
  'content-type',
  'connection',
  'transfer-encoding',
];

export const EndpointEngine = z.strictObject({
  kind: z
    .enum(['endpoint', 'openai'])
    .transform(() => 'endpoint' as const)
    .describe('the two are the same'),
  baseUrl: z.url({ protocol: /^https?$/ }).refine((url) => !/[?#]|\/\/[^/]*@/.test(url), {
    error: 'must hold no password, query or fragment, since it is shown and stored; a key comes from apiKeyEnv',
    params: { isSecret: true },
  }),
  model: z.string().min(1),
  revision: z.string().default('').describe('change it when the weights behind the name change'),
  apiKeyEnv: z
    .string()
    .refine((name) => /^[A-Za-z_]\w{0,99}$/.test(name), {
      error: 'must be the name of an environment variable, not the key itself',
      params: { isSecret: true },
    })
    .optional()
    .describe('name of the environment variable that holds the key'),
  concurrency: z.int().min(1).default(64).describe('requests in flight from one worker'),
  n: z
    .boolean()
    .default(true)
    .describe('false: each text has a request and a seed of its own; found out where it is not set'),
  seed: z.boolean().default(true).describe('false: send no seed; found out where the endpoint refuses it by name'),
  topK: z.boolean().default(true).describe('false: send no top_k; found out where the endpoint refuses it by name'),
  maxTokensField: z
    .enum(['max_tokens', 'max_completion_tokens'])
    .default('max_tokens')
    .describe('what the limit of a reply is called; the other one is tried where the endpoint refuses it by name'),
  extraBody: z
    .record(z.string(), z.json())
    .refine((body) => OWN_FIELDS.every((name) => !Object.hasOwn(body, name)), {
      error: `must not hold ${OWN_FIELDS.join(', ')}, which srlm sets`,
    })
    .optional()
    .describe(
      'more fields of each request, such as reasoning_effort; they replace equal ones, and are part of the keys',
    ),
  headers: z
    .record(
      z.string().regex(/^[!#$%&'*+.^`|~\w-]+$/, 'must be the name of a header'),
      // Many hold a key, and end as the file ends that it was copied from.
      z
        .string()
        .trim()
        .refine((value) => /^[\t\x20-\x7e]*$/.test(value), {
          error: 'must hold the characters of a header alone',
          params: { isSecret: true },
        }),
    )
    .refine((headers) => Object.keys(headers).every((name) => !OWN_HEADERS.includes(name.toLowerCase())), {
      error: `must not hold ${OWN_HEADERS.join(', ')}; a key comes from apiKeyEnv`,
      params: { isSecret: true },
    })
    .optional()
    .describe('more headers of each request'),
  azure: z
    .strictObject({ apiVersion: z.string().regex(/^[\w.-]+$/) })
    .optional()
    .describe("Azure's older API; without it, an address of Azure has the version 2024-10-21"),
  price: z
    .strictObject({ inputPerMillion: z.number().min(0), outputPerMillion: z.number().min(0) })
    .optional()
    .describe('money for a million tokens, for budgets'),
  timeoutSeconds: z
    .number()
    .gt(0)
    .max(1_000_000)
    .default(600)
    .describe('a request without a complete reply by then is sent again'),
});

export const EngineConfig = z.discriminatedUnion('kind', [BuiltinEngine, EndpointEngine]);
export type EngineConfig = z.infer<typeof EngineConfig>;
export type BuiltinEngine = z.infer<typeof BuiltinEngine>;
export type EndpointEngine = z.infer<typeof EndpointEngine>;

export const TrainerConfig = z.strictObject({
  device: z.enum(['auto', 'cpu', 'cuda']).default('auto'),
  threads: z.int().min(1).optional(),
  processes: z.int().min(1).default(1).describe('more than one: through accelerate launch'),
  accelerateConfig: z.string().optional().describe('file for accelerate launch (FSDP, DeepSpeed)'),
});
export type TrainerConfig = z.infer<typeof TrainerConfig>;

/** See docs/releasing.md. A version is routed by Temporal; which one new runs are sent to is set there, not here. */
export const Versioning = z.strictObject({
  deploymentName: z.string().min(1).default('srlm'),
  buildId: z.string().min(1).describe('a name for the code of this worker: a release, a commit'),
  runs: z
    .enum(['auto-upgrade', 'pinned'])
    .default('auto-upgrade')
    .describe(
      'auto-upgrade: a round ends on the code it began with, the next one uses the current; pinned: the whole run',
    ),
});
export type Versioning = z.infer<typeof Versioning>;

/** What Temporal's SDK calls a plugin: any part of it. */
export type TemporalPlugin = ClientPlugin | ConnectionPlugin | WorkerPlugin | NativeConnectionPlugin | BundlerPlugin;

/** An object that is handed to Temporal's SDK as it is, and that only a config in TypeScript or JavaScript can hold. */
const ofSdk = <T extends object>(what: string) =>
  z.custom<T>((value) => typeof value === 'object' && value !== null && !Array.isArray(value), {
    error: `must be ${what}`,
  });

const isCodec = (one: unknown): boolean =>
  ['encode', 'decode'].every((work) => typeof (one as Record<string, unknown> | null)?.[work] === 'function');

const Interceptors = z.strictObject({
  client: ofSdk<ClientInterceptors>('interceptors of Temporal clients').optional(),
  worker: ofSdk<WorkerInterceptors>('interceptors of Temporal workers').optional(),
});

/** Options of Temporal's own workers; each holds for every worker of the process. */
export const WorkerSettings = z.strictObject({
  identity: z
    .string()
    .min(1)
    .optional()
    .describe('how the worker is named in histories; default: process@host and a digest of this config'),
  tuner: ofSdk<NonNullable<WorkerOptions['tuner']>>('a tuner')
    .optional()
    .describe("Temporal's; replaces the slots that srlm sets"),
  sinks: ofSdk<NonNullable<WorkerOptions['sinks']>>('sinks')
    .optional()
    .describe('for workflow interceptors of your own'),
  runtime: ofSdk<RuntimeOptions>('options of a runtime')
    .optional()
    .describe("Temporal's runtime: logger, metrics endpoint. Not used where the process has a runtime already"),
});
export type WorkerSettings = z.infer<typeof WorkerSettings>;

/** A rationale that a selector of the user's own may choose from, as in the table of docs/method.md. */
export interface OwnRationale {
  k: number;
  rationale: string;
  chars: number;
  scores: Readonly<Record<string, number | null | undefined>>;
  logprobs?: Readonly<Partial<Record<string, number[]>>> | undefined;
  withoutRationale?: Readonly<Partial<Record<string, number[]>>> | undefined;
}
/** One row, and the candidates that pass the guards; at least one. `seed` is for a function that draws. */
export interface OwnTable {
  id: string;
  instruction: string;
  answer: string;
  seed: string;
  incumbent: OwnRationale;
  candidates: OwnRationale[];
}
type Choose = (table: OwnTable) => number | 'incumbent' | Promise<number | 'incumbent'>;

const OwnFunction = z.strictObject({
  version: z
    .string()
    .min(1)
    .max(100)
    .describe('change it with the function: what an older version chose is not used again'),
  choose: z
    .custom<Choose>((value) => typeof value === 'function', { error: 'must be a function' })
    .describe("gets a row with its candidates, returns the k of one of them or 'incumbent'"),
  timeoutSeconds: z.number().gt(0).max(3600).default(60).describe('for one row'),
});

/** Part of the names of queues and folders. */
const HostName = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/,
    'a letter or digit, then letters, digits, dots, dashes and underscores; at most 64 in all',
  );
/** Any hostname makes a name; what somebody has chosen is checked. */
const thisHost = () =>
  process.env.SRLM_HOST ||
  hostname()
    .replace(/[^A-Za-z0-9._-]/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 64) ||
  'host';

export const Deployment = z.strictObject({
  artifactRoot: z.string().min(1).default('.srlm/store').describe('shared by all workers and clients'),
  workRoot: z
    .string()
    .min(1)
    .default('.srlm/work')
    .describe("this host's own: logs of the model server, Temporal's database, tokens"),
  modelRoots: z.array(z.string()).default(['models', '.srlm/models']).describe('where run specs may take models from'),
  python: z.string().optional().describe('default: $SRLM_PYTHON, else the environment that srlm set up'),
  host: HostName.optional()
    .describe('name of this host, which must stay when it starts again; default: $SRLM_HOST, else the hostname')
    .transform((name) => name ?? thisHost())
    .pipe(HostName),
  taskQueue: QueueName.default('srlm').describe('prefix: NAME, NAME-cpu, NAME-gpu, NAME-gpu@HOST'),
  singleTaskQueue: z.boolean().default(false).describe('a worker of your own serves everything on the one queue'),
  heartbeatSeconds: HeartbeatSeconds.default(30).describe(
    'a worker silent for so long is considered dead; its heartbeats are sent every 0.8 of it, once a minute at least',
  ),
  shardsInFlight: z.int().min(1).max(200).default(8).describe('shards of a step that run at the same time'),
  maxAttempts: MaxAttempts.default(100).describe('tries of a step before the run parks'),
  stallMinutes: z
    .number()
    .gt(0)
    .max(100_000)
    .default(15)
    .describe('a model server or a trainer without progress for so long is ended, and its step is tried again'),
  engines: z.record(Name, EngineConfig).default({ local: EngineConfig.parse({ kind: 'builtin' }) }),
  trainers: z.record(Name, TrainerConfig).default({ local: TrainerConfig.parse({}) }),
  selectors: z
    .record(Name, OwnFunction)
    .default({})
    .describe('selectors of your own, by name: selection.selector: { own: NAME }'),
  searchAttributes: z
    .enum(['auto', 'on', 'off'])
    .default('auto')
    .describe('whether runs set search attributes; auto: if the namespace has them'),
  plugins: z
    .array(ofSdk<TemporalPlugin>('a Temporal plugin'))
    .default([])
    .describe('Temporal plugins, for every client, connection and worker'),
  dataConverter: ofSdk<DataConverter>('a data converter')
    .refine(({ payloadCodecs = [] }) => Array.isArray(payloadCodecs) && payloadCodecs.every(isCodec), {
      error: 'must be a list of objects with encode and decode',
      path: ['payloadCodecs'],
      // Any part of it may be a key.
      params: { isSecret: true },
    })
    .optional()
    .describe("Temporal's; for every payload"),
  interceptors: Interceptors.default({}).describe("Temporal's; for every client and worker"),
  worker: WorkerSettings.default({}),
  versioning: Versioning.optional().describe('for `srlm worker`; `srlm up` has one worker, which takes every run'),
});
export type Deployment = z.infer<typeof Deployment>;
export type DeploymentInput = z.input<typeof Deployment>;

/** Search attributes of every run, with the types that a namespace must know them by. */
export const SEARCH_ATTRIBUTES = {
  SrlmState: 'Keyword',
  SrlmStep: 'Keyword',
  SrlmRound: 'Int',
  SrlmScore: 'Double',
} as const;
