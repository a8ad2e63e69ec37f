/**
 * Other people's evaluation tools: how each is called for a model that is served here, and what scores its results hold.
 * None of them may use a cache: the weights of a model change, and what these caches are keyed by does not.
 */
import { z } from 'zod';
import type { EvalScore } from '../audit/evals.js';

export const TOOLS = ['lm-eval', 'inspect'] as const;
export type Tool = (typeof TOOLS)[number];

export interface EvalRequest {
  tasks: string[];
  /** Rows of each task; null: all. */
  limit: number | null;
  /** Where lm-eval looks for the tasks that are named, besides its own. */
  includePath: string | null;
  /** Inspect asks for completions without a chat template. */
  completions: boolean;
  /** Passed on as they are. */
  args: readonly string[];
}

export interface Served {
  /** Ends in /v1. */
  baseUrl: string;
  apiKey: string;
  /** The name of the model. */
  model: string;
  /** Its folder, which has the tokenizer. */
  folder: string;
  /** In tokens. */
  context: number;
}

interface Call {
  /** Python's arguments. */
  args: string[];
  env: Record<string, string>;
}

interface ToolKind {
  /** Its name on PyPI. */
  package: string;
  call(request: EvalRequest, served: Served, results: string): Call;
  /** Options that srlm sets, and those that turn a cache on. */
  taken: readonly string[];
  /** Files of results, by what their path ends with. */
  isResult: RegExp;
  /** Scores of one such file. Throws for what has another form. */
  scores(file: unknown): EvalScore[];
}

/** Requests in flight. The server puts them into one batch. */
const CONCURRENT = 32;

const LmEvalResult = z.object({
  results: z.record(z.string(), z.record(z.string(), z.json())),
  'n-samples': z.record(z.string(), z.object({ effective: z.int() })).default({}),
});

const InspectLog = z.object({
  status: z.string(),
  error: z.object({ message: z.string() }).nullish(),
  eval: z.object({ task: z.string() }),
  results: z
    .object({
      completed_samples: z.int().nullish(),
      scores: z.array(
        z.object({ name: z.string(), metrics: z.record(z.string(), z.object({ value: z.number().nullable() })) }),
      ),
    })
    .nullish(),
});

const KINDS: Record<Tool, ToolKind> = {
  'lm-eval': {
    package: 'lm_eval',
    call({ tasks, limit, includePath, args }, { baseUrl, apiKey, model, folder, context }, results) {
      const settings = {
        model,
        base_url: `${baseUrl}/completions`,
        tokenizer: folder,
        tokenizer_backend: 'huggingface',
        tokenized_requests: true,
        num_concurrent: CONCURRENT,
        max_length: context,
        // The server finds out whether a request makes progress.
        timeout: 86_400,
      };
      return {
        args: [
          ...['-m', 'lm_eval', 'run', '--model', 'local-completions', '--model_args', JSON.stringify(settings)],
          ...['--tasks', tasks.join(','), '--output_path', results, '--log_samples'],
          ...(limit === null ? [] : ['--limit', String(limit)]),
          ...(includePath === null ? [] : ['--include_path', includePath]),
          ...args,
        ],
        env: { OPENAI_API_KEY: apiKey },
      };
    },
    taken: [
      ...['--config', '-C', '--model', '-M', '--model_args', '-a', '--tasks', '-t', '--output_path', '-o'],
      ...['--limit', '-L', '--include_path', '--use_cache', '-c', '--cache_requests'],
    ],
    isResult: /(^|\/)results_[^/]*\.json$/,
    scores(file) {
      const { results, 'n-samples': samples } = LmEvalResult.parse(file);
      return Object.entries(results).flatMap(([task, found]) =>
        // "acc,none" and "acc_stderr,none": metric and filter.
        Object.entries(found).flatMap(([name, value]) => {
          const [metric = '', filter = 'none'] = name.split(',');
          if (typeof value !== 'number' || !name.includes(',') || metric.endsWith('_stderr')) return [];
          const stderr = found[`${metric}_stderr,${filter}`];
          return {
            task,
            metric: filter === 'none' ? metric : `${metric} (${filter})`,
            value,
            stderr: typeof stderr === 'number' ? stderr : null,
            samples: samples[task]?.effective ?? null,
          };
        }),
      );
    },
  },
  inspect: {
    package: 'inspect_ai',
    call({ tasks, limit, completions, args }, { baseUrl, apiKey, model }, results) {
      const provider = completions ? 'vllm-completions' : 'openai-api/srlm';
      return {
        args: [
          ...['-m', 'inspect_ai', 'eval', ...tasks, '--model', `${provider}/${model}`],
          ...['--log-dir', results, '--log-format', 'json', '--display', 'plain'],
          ...['--max-connections', String(CONCURRENT)],
          ...(limit === null ? [] : ['--limit', String(limit)]),
          ...args,
        ],
        env: {
          ...{ SRLM_API_KEY: apiKey, SRLM_BASE_URL: baseUrl },
          ...{ VLLM_API_KEY: apiKey, VLLM_BASE_URL: baseUrl },
        },
      };
    },
    taken: ['--model', '--log-dir', '--log-format', '--limit', '--cache'],
    isResult: /\.json$/,
    scores(file) {
      const { status, error, eval: of, results } = InspectLog.parse(file);
      if (status !== 'success') throw new Error(`${of.task}: ${error?.message ?? status}`);
      const samples = results?.completed_samples ?? null;
      return (results?.scores ?? []).flatMap(({ name, metrics }) => {
        const stderr = metrics.stderr?.value ?? null;
        return Object.entries(metrics).flatMap(([metric, { value }]) =>
          metric === 'stderr' || value === null
            ? []
            : { task: of.task, metric: `${name} ${metric}`, value, stderr, samples },
        );
      });
    },
  },
};

export const toolKind = (tool: Tool): ToolKind => KINDS[tool];

/** The first of `args` that may not be passed on, since srlm sets it or since it turns a cache on; null: none. */
export function takenArgument(tool: Tool, args: readonly string[]): string | null {
  const { taken } = KINDS[tool];
  const isTaken = (arg: string) => {
    const [name = ''] = arg.split('=');
    // Python's argparse takes the beginning of an option for the whole.
    return name.startsWith('--') ? name.length > 2 && taken.some((one) => one.startsWith(name)) : taken.includes(name);
  };
  return args.find(isTaken) ?? null;
}
