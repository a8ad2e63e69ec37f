/**
 * srlm eval: evaluates the model of a run's round with lm-eval or Inspect, through a model server of its own, and files the
 * result with the run. The tools are in a Python environment of their own (--install), because they need other packages
 * than training does. A task may be a program of the user's: it runs as any program that he starts. Throws evals.missing,
 * eval.failed, run.no-model.
 */
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { fetch } from 'undici';
import { z } from 'zod';
import { exportOf } from '../../audit/bundle.js';
import { beginEval, fileEval, readEvals, renderEvals } from '../../audit/evals.js';
import { Problem } from '../../contracts/errors.js';
import type { PrivateServer } from '../../engines/engine.js';
import { evalsPythonPath, evalToolVersion, setUpPython } from '../../processes/python.js';
import { type EvalRequest, TOOLS, type Tool, takenArgument, toolKind } from '../eval-tools.js';
import { describe, firstRunIdOf } from '../executions.js';
import { operator } from '../operator.js';
import { runTool } from '../run-eval-tool.js';
import { modelOf } from './ask.js';
import { action, type Context, collect, EXIT, type Exit, number, UsageError } from './context.js';
import { withServer } from './serve.js';

const LOG = 'log.txt';

interface Options {
  with?: Tool;
  task?: string[];
  round?: number;
  limit?: number;
  includePath?: string;
  completions?: boolean;
  list?: boolean;
  install?: boolean;
}

export function addEvalCommand(program: Command): void {
  program
    .command('eval')
    .description('evaluate the improved model with lm-eval or Inspect')
    .argument('[run]', 'id of a run')
    .argument('[args...]', 'after --, passed on to the tool')
    .addOption(new Option('--with <tool>', 'the tool').choices(TOOLS))
    .option('--task <task>', 'a task by its name or file; may be repeated', collect)
    .option('--round <n>', 'the model of this round (default: by the final of its spec)', number('--round', 0, 10_000))
    .option('--limit <n>', 'only the first n rows of each task', number('--limit', 1, 1_000_000))
    .option('--include-path <folder>', "a folder of tasks, besides lm-eval's own")
    .option('--completions', "Inspect: without the model's chat template, as perplexity tasks need it")
    .option('--list', 'show what is filed with the run')
    .option('--install', 'install both tools into .srlm/evals in the current folder')
    .action(
      action(async (context, runId: string | undefined, args: string[], options: Options): Promise<Exit> => {
        if (options.install) {
          const python = await setUpPython(resolve('.srlm/evals'), (line) => context.say(line), 'requirements-evals');
          context.print({ python }, [`lm-eval and Inspect are in ${python}.`]);
          return EXIT.done;
        }
        if (!runId?.trim()) throw new UsageError('RUN: expected the id of a run. `srlm list` shows them.');
        if (options.list) return list(context, runId);
        const { tool, request } = requestOf(options, args);
        return evaluate(context, runId, options.round, tool, request);
      }),
    );
}

function requestOf(options: Options, args: string[]): { tool: Tool; request: EvalRequest } {
  const { with: tool, task: tasks = [], limit = null, includePath = null, completions = false } = options;
  if (!tool) throw new UsageError(`--with: expected ${TOOLS.join(' or ')}.`);
  if (tasks.length === 0) throw new UsageError('--task: expected the name or the file of a task.');
  if (completions && tool !== 'inspect') throw new UsageError('--completions: lm-eval always asks for completions.');
  if (includePath !== null && tool !== 'lm-eval') throw new UsageError('--include-path: only lm-eval has it.');
  const taken = takenArgument(tool, args);
  if (taken !== null)
    throw new UsageError(`${taken}: srlm sets this itself, or it turns on a cache that does not know the weights.`);
  return { tool, request: { tasks, limit, includePath, completions, args } };
}

/** Where the results of a run are filed. */
async function placeOf(context: Context, runId: string): Promise<string> {
  const client = await context.connect();
  return exportOf(client.store.root, runId, firstRunIdOf(await describe(client.temporal, runId)));
}

async function list(context: Context, runId: string): Promise<Exit> {
  const records = await readEvals(await placeOf(context, runId));
  context.print(records, records.length > 0 ? renderEvals(records) : ['No evaluation is filed with this run.']);
  return EXIT.done;
}

async function evaluate(
  context: Context,
  runId: string,
  wanted: number | undefined,
  tool: Tool,
  request: EvalRequest,
): Promise<Exit> {
  const python = evalsPythonPath();
  const version = await evalToolVersion(python, toolKind(tool).package);
  const place = await placeOf(context, runId);
  const asked = await modelOf(context, runId, wanted);
  const { rounds } = await (await context.connect()).status(runId);
  // Rounds that trained on the same rows have one model. Other commands name the last of them, too.
  const round = wanted ?? rounds.findLast(({ model }) => model.sha256 === asked.sha256)?.round ?? null;
  const startedAt = new Date();
  const { folder, results } = await beginEval(place, startedAt, tool);
  try {
    const scores = await withServer(context, asked, 0, async (server, stopped) => {
      const served = { ...server, folder: asked.folder, context: await contextOf(server) };
      const log = join(folder, LOG);
      context.say(`${tool} ${version} is at work; its output is in ${log} ...`);
      const either = AbortSignal.any([stopped, server.stalled]);
      return runTool({ python, tool, request, served, results, log }, either);
    });
    const { tasks, limit, completions, args } = request;
    const record = await fileEval(folder, {
      ...{ run: runId, round, model: asked.sha256, tool, version, tasks, limit },
      args: [...(completions ? ['--completions'] : []), ...args],
      ...{ startedAt: startedAt.toISOString(), endedAt: new Date().toISOString(), by: operator(), scores },
    });
    context.print({ ...record, folder }, [...renderEvals([record]), `Filed in ${folder}.`]);
    return EXIT.done;
  } catch (error) {
    // The log of a tool that failed is what explains it.
    if (!(error instanceof Problem && error.type === 'eval.failed')) await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

const Models = z.object({ data: z.tuple([z.object({ max_model_len: z.int() })]) });

async function contextOf({ baseUrl, apiKey }: PrivateServer): Promise<number> {
  const reply = await fetch(`${baseUrl}/models`, { headers: { authorization: `Bearer ${apiKey}` } });
  return Models.parse(await reply.json()).data[0].max_model_len;
}
