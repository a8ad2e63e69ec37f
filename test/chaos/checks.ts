/** What must hold of every run, whatever happened to it. Each check returns what does not hold, in words. */
import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { counts, type Harness, type outcome, type TrainingStep } from '../support/harness.js';
import type { ChaosHarness, Injection } from './chaos-harness.js';

export const CHUNK_ROWS = 4;
export const SHARDS_IN_FLIGHT = 2;
const CHECKPOINT_STEPS = 5;

export interface Work {
  samples: number;
  logprobs: number;
  steps: number;
}

/** What an undisturbed run comes to. */
export interface Reference {
  outcome: ReturnType<typeof outcome>;
  digests: Record<string, string>;
}

/** Processes and files that nobody needs any more. */
export function leftovers(chaos: ChaosHarness): string[] {
  const servers = join(chaos.harness.folder, 'work/servers');
  const stray = chaos.probe
    .storedFiles('.')
    .filter((path) =>
      /^tmp\/|\.partial$|~\d+~[0-9a-f]{12}$|^jobs\/[^/]+\/(checkpoints|model|\.model\.partial|\.result\.json)/.test(
        path,
      ),
    );
  return [
    ...chaos.trainers().map((pid) => `a trainer is left (${pid})`),
    ...(chaos.servers().length > 1 ? ['two model servers are left'] : []),
    ...(chaos.workers().length !== 1 ? [`${chaos.workers().length} workers are left`] : []),
    ...stray.map((path) => `a stray file: ${path}`),
    ...readdirSync(servers)
      .flatMap((name) => readdirSync(join(servers, name)))
      .filter((name) => name.endsWith('.tmp'))
      .map((name) => `a stray file: ${name}`),
  ];
}

/** `endpoint`: ids of the requests that the endpoint answered. */
export function workDone(harness: Harness, jobs: string[], endpoint: readonly string[]): { done: Work; twice: Work } {
  const served = harness.requests().filter(({ request }) => request);
  const key = ({ model, request }: { model: string; request: string }) => `${model} ${request}`;
  const logprobs = served.filter(({ request }) => request.startsWith('logprob:')).map(key);
  const samples = served.filter(({ request }) => !request.startsWith('logprob:')).map(key);
  samples.push(...endpoint);
  const steps = jobs.flatMap((job) => harness.steps(job).map(({ step }) => `${job} ${step}`));
  const repeated = (all: string[]) => all.length - counts(all).size;
  return {
    done: { samples: samples.length, logprobs: logprobs.length, steps: steps.length },
    twice: { samples: repeated(samples), logprobs: repeated(logprobs), steps: repeated(steps) },
  };
}

/** A fault costs at most the chunk in work of each shard in flight, once for each attempt it ends. */
export function tooMuchTwice({ samples, logprobs }: Work, injections: readonly Injection[]): string[] {
  const interrupts = injections.reduce((sum, { fault, injected }) => sum + (injected ? fault.interrupts : 0), 0);
  const most = interrupts * CHUNK_ROWS * SHARDS_IN_FLIGHT;
  if (samples + logprobs <= most) return [];
  return [`${samples} samples and ${logprobs} log-probabilities were computed twice; at most ${most} may be`];
}

/** One writer after the other, each resuming from the newest checkpoint that was complete. */
export function trainingProblems(
  harness: Harness,
  jobs: readonly string[],
  injections: readonly Injection[],
): string[] {
  const lost = injections.filter(({ fault, injected }) => injected && fault.kind === 'checkpoint damaged').length;
  const wrong: string[] = [];
  for (const job of jobs.filter((folder) => existsSync(folder))) {
    const turns: TrainingStep[][] = [];
    for (const step of harness.steps(job)) {
      const last = turns.at(-1);
      if (last && last[0]!.pid === step.pid) last.push(step);
      else turns.push([step]);
    }
    const name = basename(job);
    if (new Set(turns.map(([first]) => first!.pid)).size !== turns.length)
      wrong.push(`two trainers wrote to ${name} at the same time`);
    let reached = 0;
    for (const turn of turns) {
      const first = turn[0]!.step;
      // A step is written before the checkpoint after it: a checkpoint is certain to be complete once the next step is done.
      const kept = CHECKPOINT_STEPS * (Math.floor(Math.max(0, reached - 1) / CHECKPOINT_STEPS) - lost);
      if (first <= kept || first > reached + 1) wrong.push(`${name}: step ${first} came after step ${reached}`);
      if (turn.some(({ step }, i) => step !== first + i)) wrong.push(`${name}: steps are left out`);
      reached = Math.max(reached, turn.at(-1)!.step);
    }
  }
  return wrong;
}

export function differences(reference: Reference, found: Reference): string[] {
  const wrong: string[] = [];
  if (JSON.stringify(found.outcome) !== JSON.stringify(reference.outcome)) wrong.push('its result is another');
  const paths = new Set([...Object.keys(reference.digests), ...Object.keys(found.digests)]);
  const other = [...paths].filter((path) => reference.digests[path] !== found.digests[path]);
  if (other.length > 0) {
    const shown = other.slice(0, 3).map((path) => {
      if (!(path in found.digests)) return `${path} is missing`;
      return `${path} is ${path in reference.digests ? 'another' : 'new'}`;
    });
    wrong.push(`${other.length} files differ: ${shown.join(', ')}`);
  }
  return wrong;
}
