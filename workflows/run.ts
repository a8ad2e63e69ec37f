/**
 * A run: ingest -> (rationalize) -> round 0 -> round 1 ... round R. Each round is a child workflow.
 * Imports nothing of Node.
 */
import { executeChild, workflowInfo } from '@temporalio/workflow';
import type { Dataset, Manifest } from '../contracts/artifacts.js';
import type { DataKind, RoundSummary, RunInput, RunResult } from '../contracts/steps.js';
import { srlmRound } from './round.js';
import { type Steps, wholeRun } from './steps.js';

export async function srlmRun(input: RunInput): Promise<RunResult> {
  return wholeRun(input.operations, input.spec.rounds, (steps) => run(input, steps));
}

async function run({ spec, operations, ...files }: RunInput, steps: Steps): Promise<RunResult> {
  const runId = workflowInfo().workflowId;

  const start = await steps.step('prepare', () => steps.gpu('prepare').srlmPrepareModel({ path: spec.model.path }));
  const ingest = (
    kind: DataKind,
    file: Manifest,
    source: { path: string; fields: object; limit?: number | undefined },
    chunkSize: number,
  ) =>
    steps.step(`ingest ${kind}`, () =>
      steps.cpu.srlmIngest({
        kind,
        file,
        name: source.path,
        fields: source.fields,
        limit: source.limit ?? null,
        chunkSize,
      }),
    );
  const examples = await ingest('examples', files.data, spec.data, spec.sampling.chunkSize);
  const catalysts =
    files.catalysts && spec.catalysts !== 'none'
      ? (await ingest('catalysts', files.catalysts, spec.catalysts, spec.sampling.chunkSize)).data
      : null;
  const questions =
    files.evaluation && spec.evaluation !== 'none'
      ? (await ingest('questions', files.evaluation, spec.evaluation, spec.evaluation.chunkSize)).data
      : null;

  const written =
    examples.missingRationales > 0 ? await rationalize(spec, operations, steps, start, examples.data) : null;
  const first = await steps.step('rows', () =>
    steps.cpu.srlmRows({ data: examples.data, candidates: written, prompts: spec.prompts }),
  );

  const { summaries } = steps.state;
  let data = first.data;
  let current = start;
  let best: RoundSummary | null = null;
  let failedInARow = 0;
  for (let round = 0; round <= spec.rounds; round++) {
    steps.state.round = round;
    steps.publish(table(summaries, `round ${round} of ${spec.rounds} is under way`));
    const summary: RoundSummary = await executeChild(srlmRound, {
      workflowId: `${runId}.round-${round}`,
      args: [
        {
          runId,
          round,
          rounds: spec.rounds,
          spec,
          start,
          current,
          data,
          meanRationaleChars: first.meanRationaleChars,
          catalysts,
          questions,
          best: best?.score ?? null,
          failedInARow,
          operations,
        },
      ],
      staticSummary: `round ${round}`,
    });
    summaries.push(summary);
    const verdict = summary.gate?.verdict ?? 'keep';
    if (verdict === 'keep') {
      failedInARow = 0;
      current = summary.model;
      data = summary.data;
      if (!best?.score || !summary.score || summary.score.accuracy >= best.score.accuracy) best = summary;
    } else {
      failedInARow++;
      // The rejected round stays on record; the next one starts where the best one ended.
      if (best) ({ model: current, data } = best);
      if (verdict === 'stop') break;
    }
  }
  steps.state.state = 'done';
  steps.publish(table(summaries, 'done'));
  return { rounds: summaries, best: best!.round, model: best!.model };
}

/** Where r0 is missing, the starting model (or a named engine) writes a short one from (x, y) [ours]. */
async function rationalize(
  spec: RunInput['spec'],
  operations: RunInput['operations'],
  steps: Steps,
  start: RoundSummary['model'],
  data: Dataset,
): Promise<Dataset> {
  const engine = spec.rationalizeEngine ?? spec.engine;
  return steps.sharded(
    {
      step: 'sample',
      input: {
        purpose: 'rationalize',
        engine,
        model: operations.hostedEngines.includes(engine) ? null : start,
        data,
        prompts: spec.prompts,
        system: null,
        prompt: null,
        enrichFrom: 'original',
        // Short by its prompt; the bound only ends what would not.
        sampling: {
          ...spec.sampling,
          k: 1,
          temperature: 0,
          maxTokens: Math.min(160, spec.sampling.maxTokens),
          stop: [],
        },
        seed: spec.seed,
        round: 0,
        deterministic: spec.deterministic,
      },
    },
    'rationalize',
  );
}

function table(summaries: RoundSummary[], state: string): string {
  const lines = summaries.map(({ round, enriched, rows, trainLoss, score, gate }) => {
    const shown = score
      ? `${(100 * score.accuracy).toFixed(1)} % (${(100 * score.low).toFixed(1)}-${(100 * score.high).toFixed(1)})`
      : '';
    return `| ${round} | ${enriched}/${rows} | ${trainLoss.toFixed(3)} | ${shown} | ${gate?.verdict ?? ''} |`;
  });
  return [`**${state}**`, '', '| round | enriched | loss | held-out | gate |', '|---|---|---|---|---|', ...lines].join(
    '\n',
  );
}
