/**
 * A run: ingest -> (rationalize) -> round 0 -> round 1 ... round R. Each round is a child workflow; what operators
 * order of the run, it is told. Imports nothing of Node.
 */
import { ApplicationFailure, ChildWorkflowFailure, startChild, workflowInfo } from '@temporalio/workflow';
import type { Dataset, Manifest } from '../contracts/artifacts.js';
import { RoundLeft, type RoundOutcome } from '../contracts/progress.js';
import type { RunSpec } from '../contracts/spec.js';
import type { DataKind, RoundSummary, RunInput, RunResult } from '../contracts/steps.js';
import { orderSignal } from './messages.js';
import { stopped } from './orders.js';
import { srlmRound } from './round.js';
import { isFailure, type Steps, wholeRun } from './steps.js';

export async function srlmRun(input: RunInput): Promise<RunResult> {
  const { operations, spec, fork } = input;
  return wholeRun({ operations, spec, round: null, rounds: spec.rounds, fork }, async (steps) => {
    if (fork) steps.orders.rewind();
    return run(input, steps);
  });
}

async function run({ operations, ...files }: RunInput, steps: Steps<RunSpec>): Promise<RunResult> {
  const runId = workflowInfo().workflowId;
  const { spec } = steps;

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

  const written = examples.missingRationales > 0 ? await rationalize(operations, steps, start, examples.data) : null;
  const first = await steps.step('rows', () =>
    steps.cpu.srlmRows({ data: examples.data, candidates: written, prompts: spec.prompts }),
  );
  const about = { data: catalysts, rows: catalysts?.rows ?? 0, enriched: null, score: null, gate: null };
  if (!(await steps.orders.approved('catalysts', about))) throw stopped('catalysts were rejected');

  const { orders } = steps;
  const { summaries, rulings } = orders.state;
  let data = first.data;
  let current = start;
  let best: RoundSummary | null = null;
  let failedInARow = 0;
  let isStopped = false;
  /** An operator's word on a round that is done, which holds from round `before` on. */
  const rule = (before: number) => {
    for (const ruling of rulings.filter((one) => one.verdict === 'promote' && one.before === before)) {
      const chosen = summaries.find(({ round }) => round === ruling.round);
      if (!chosen) continue;
      ({ model: current, data } = chosen);
      best = chosen;
      failedInARow = 0;
    }
  };
  for (let round = 0; round <= steps.spec.rounds && !isStopped; round++) {
    rule(round);
    if (orders.stopAfter === 'step' && best !== null) {
      isStopped = true;
      break;
    }
    orders.begin(round);
    if (orders.isPaused || orders.stopAfter === 'step') await orders.clear();
    steps.publish(table(summaries, `round ${round} of ${steps.spec.rounds} is under way`));
    // What is ordered before the round can hear it.
    const early: Parameters<NonNullable<typeof orders.forward>>[] = [];
    orders.forward = (...order) => void early.push(order);
    const child = await startChild(srlmRound, {
      workflowId: `${runId}.round-${round}`,
      args: [
        {
          runId,
          round,
          rounds: steps.spec.rounds,
          spec: orders.wasApproved('before-train', round) ? withoutApproval(steps.spec) : steps.spec,
          start,
          current,
          data,
          meanRationaleChars: first.meanRationaleChars,
          catalysts,
          questions,
          best: (best as RoundSummary | null)?.score ?? null,
          failedInARow,
          operations,
          spent: orders.state.spent,
          startedAt: new Date(orders.startedAtMs).toISOString(),
        },
      ],
      staticSummary: `round ${round}`,
    });
    orders.forward = (kind, order) => void child.signal(orderSignal, { kind, order }).catch(() => {});
    for (const order of early) orders.forward(...order);
    let outcome: RoundOutcome;
    try {
      outcome = await child.result();
    } catch (error) {
      const left = error instanceof ChildWorkflowFailure && detailsOf(error.cause);
      if (left) keep(round, left, steps);
      if (!isFailure(error, 'run.stopped') || best === null) throw error;
      isStopped = true;
      break;
    } finally {
      orders.forward = null;
    }
    const { told: _, interventions: __, ...summary } = outcome;
    keep(round, outcome, steps);
    summaries.push(summary);
    const ruled = await ruling(round, summary, steps);
    if (ruled && summary.gate?.verdict === 'keep') summary.gate = { ...summary.gate, verdict: ruled };
    const gated = summary.gate?.verdict ?? 'keep';
    const verdict = gated === 'stop' ? gated : (ruled ?? gated);
    if (verdict === 'keep') {
      failedInARow = 0;
      current = summary.model;
      data = summary.data;
      // One whose evaluation was skipped is nothing to compare the next with.
      const isBetter = summary.score ? summary.score.accuracy >= (best?.score?.accuracy ?? 0) : !best?.score;
      if (isBetter) best = summary;
    } else {
      failedInARow++;
      // The rejected round stays on record; the next one starts where the best one ended.
      if (best) ({ model: current, data } = best);
      if (verdict === 'stop') break;
    }
    isStopped = orders.stopAfter === 'round' && round < steps.spec.rounds;
  }
  rule((orders.state.round ?? 0) + 1);
  // Nothing was kept: a first round that was rejected.
  const model = (best as RoundSummary | null) ?? summaries.at(-1)!;
  orders.state.state = isStopped ? 'stopped' : 'done';
  steps.publish(table(summaries, orders.state.state));
  return { rounds: summaries, best: model.round, model: model.model, ...(isStopped ? { stopped: true } : {}) };
}

/** Of its training. */
const withoutApproval = (spec: RunSpec): RunSpec => ({
  ...spec,
  approvals: spec.approvals.filter((one) => one !== 'before-train'),
});

/** What a round leaves, however it ended. */
function keep(round: number, { told, interventions = [], spent = {} }: RoundLeft, { orders }: Steps<RunSpec>): void {
  if (told) orders.adopt(round, told);
  orders.state.interventions.push(...interventions);
  for (const one of Object.values(spent)) orders.spend(one);
}

function detailsOf(failure: Error | undefined): RoundLeft | null {
  const details = failure instanceof ApplicationFailure ? failure.details?.[0] : null;
  return RoundLeft.safeParse(details).data ?? null;
}

/** What somebody says of a round, where the run asks, or where its parent was told so. */
async function ruling(round: number, summary: RoundSummary, { orders }: Steps<RunSpec>): Promise<'roll-back' | null> {
  const { rulings } = orders.state;
  if (rulings.some((one) => one.round === round && one.verdict === 'roll-back')) return 'roll-back';
  const { data, rows, enriched, score, gate } = summary;
  if (await orders.approved('after-round', { data, rows, enriched, score, gate })) return null;
  rulings.push({ round, verdict: 'roll-back', before: round + 1 });
  return 'roll-back';
}

/** Where r0 is missing, the starting model (or a named engine) writes a short one from (x, y) [ours]. */
async function rationalize(
  operations: RunInput['operations'],
  steps: Steps<RunSpec>,
  start: RoundSummary['model'],
  data: Dataset,
): Promise<Dataset> {
  return steps.sharded(() => {
    const { spec } = steps;
    const engine = spec.rationalizeEngine ?? spec.engine;
    return {
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
    };
  }, 'rationalize');
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
