/** What scripted activities answer, and the values that they answer with. Pure. */
import { createHash } from 'node:crypto';
import { ApplicationFailure } from '@temporalio/activity';
import type { DrawInput, Picked, PickInput } from '../../contracts/catalysts.js';
import type { Counts, TextCounts, VerdictCounts } from '../../contracts/counts.js';
import type { CurvesInput } from '../../contracts/curves.js';
import type { DatasetRef, ModelRef, ObjectRef, Usage } from '../../contracts/refs.js';
import type { ReportInput } from '../../contracts/report.js';
import type { RunProgress } from '../../contracts/run.js';
import type { AnswerRowsInput, GradeLogprobsInput, OpenSetsOutput } from '../../contracts/set-steps.js';
import type {
  EvalResult,
  FineTuneInput,
  FineTuneOutput,
  IngestInput,
  KeepRoundInput,
  ReadRoundInput,
  RoundSummary,
  RoundTable,
  SelectInput,
  ShardedStep,
  ShardInput,
  ShardOutput,
  StepCounts,
  StepDone,
  TrainingSet,
} from '../../contracts/steps.js';
import type { KeepStudyRunInput } from '../../contracts/study.js';
import type { RoundWatch } from '../../contracts/watch.js';
import { NO_USAGE } from '../../method/budget.js';

// biome-ignore lint/suspicious/noExplicitAny: a script answers to inputs of its own activity
export type Script = Record<string, (input: any, call: number, second?: any, third?: any) => unknown>;

export const sha = (text: string): string => createHash('sha256').update(text).digest('hex');
export const object = (name: string, rows = 0): ObjectRef => ({ sha256: sha(name), rows, bytes: 100 });
export const dataset = (name: string, rows = 32, chunks = 1): DatasetRef => ({ ...object(name, rows), chunks });
export const model = (name: string): ModelRef => ({ sha256: sha(name), bytes: 1000, path: null });
export const usage = (tokens: number): Usage => ({ tokens, gpuSeconds: tokens / 100, money: 0 });
export const set = (name: string): TrainingSet => ({
  dataset: dataset(name),
  rows: 32,
  enriched: 15,
  meanRationaleChars: 40,
});
export const evaluation = (name: string, accuracy = 0.5): EvalResult => ({
  grades: dataset(`grades ${name}`),
  correct: 64 * accuracy,
  total: 64,
  accuracy,
  low: 0.4,
  high: 0.6,
});
export const done = <T>(output: T, used: Usage | null = null, reused = false): StepDone<T> => ({
  output,
  meta: { key: sha(JSON.stringify(output)), reused, run: 'some-run', usage: used },
});
export const trained = ({ base, data }: FineTuneInput, used = usage(1000)): StepDone<FineTuneOutput> => {
  const name = `trained ${base.sha256} ${data.sha256}`;
  return done({ model: model(name), steps: 10, trainLoss: 0.5, tokens: 1000, precision: 'fp32' }, used);
};
export const shard = (chunks: number, changes: Partial<ShardOutput> = {}): ShardOutput => ({
  ...{
    rows: chunks * 32,
    chunksReused: 0,
    chunksDone: chunks,
    complete: true,
    countedUntil: Date.now(),
    usage: usage(100),
    ...changes,
  },
});
/** What a sampling step of 32 rows has received. */
export const texts = (changes: Partial<TextCounts> = {}): TextCounts => ({
  ...{ of: 'texts', rows: 32, withText: 32, asked: 128, texts: 128, empty: 0, cut: 0, filtered: 0, refused: 0 },
  ...{ suspect: 0, maxTokens: 48, reasons: [], ...changes },
});
/** Comparisons of 32 rows with two distinct candidates each. */
export const verdicts = (changes: Partial<VerdictCounts> = {}): VerdictCounts => ({
  ...{ of: 'verdicts', comparisons: 64, agree: 50, first: 70, second: 48, ties: 10, unread: 0, suspect: 0, ...changes },
});
const countsOf = ({ step }: ShardedStep): Counts =>
  step === 'sample' ? texts() : step === 'judge' ? verdicts() : { of: 'scores', candidates: 160, without: 0 };
export const failure = (type: string, message = `Something is wrong. [${type}]`, ...details: unknown[]) =>
  ApplicationFailure.nonRetryable(message, type, ...details);

/** For scripts: fails with a failure that no retry cures. */
export const fails =
  (type: string, message?: string, ...details: unknown[]) =>
  (): never => {
    throw failure(type, message, ...details);
  };

/** Sharded steps of which some run has stored the result. */
export const FOUND: Script = {
  srlmOpenStep: (step: ShardedStep) => ({
    step: object(JSON.stringify(step)),
    rows: step.data.rows,
    chunks: step.data.chunks,
    done: done({ dataset: dataset(`found ${JSON.stringify(step)}`), counts: countsOf(step) }, null, true),
  }),
};

/** What a run whose activities all succeed at once gets to see. `tables`: the round tables it has stored. */
export function defaults(tables: Map<string, RoundTable>): Script {
  return {
    srlmPrepareModel: () => model('start'),
    srlmIngest: ({ kind }: IngestInput) => {
      const meanRationaleChars = kind === 'examples' ? 18 : 0;
      return done({ dataset: dataset(kind), missingRationales: 0, meanRationaleChars });
    },
    srlmAddRationales: () =>
      done({
        set: { dataset: dataset('with rationales'), rows: 32, enriched: 0, meanRationaleChars: 20 },
        counts: { of: 'rationales', rows: 5, without: 0 },
      }),
    srlmOpenStep: (step: ShardedStep) => {
      const { rows, chunks } = step.data;
      return { step: object(JSON.stringify(step)), rows, chunks, done: null };
    },
    srlmShard: ({ from, to }: ShardInput) => shard(to - from),
    srlmAssemble: ({ step }: { step: ObjectRef }) =>
      done({ dataset: dataset(`assembled ${step.sha256}`), counts: texts() }),
    srlmParse: ({ candidates }: { candidates: DatasetRef }) => done(dataset(`parsed ${candidates.sha256}`)),
    srlmSelect: ({ data, round }: SelectInput) =>
      done({
        set: {
          dataset: dataset(`selected ${data.sha256} ${round}`),
          rows: 32,
          enriched: 20 + round,
          meanRationaleChars: 50,
        },
        decisions: dataset(`decisions ${round}`),
        changed: 20,
        counts: { of: 'guards', candidates: 128, guards: {} },
      }),
    srlmMix: ({ data }: { data: DatasetRef }) => done(dataset(`mixture ${data.sha256}`, 40)),
    srlmFineTune: (input: FineTuneInput) => trained(input),
    srlmClaimHost: () => ({ host: 'host-a' }),
    srlmGrade: ({ replies }: { replies: DatasetRef }) => done(evaluation(replies.sha256)),
    srlmOpenSets: (): OpenSetsOutput => ({ sets: {} }),
    srlmAnswerRows: ({ kind, questions }: AnswerRowsInput) =>
      done({
        data: dataset(`rows ${questions.sha256}`, 64),
        candidates: kind === 'likelihood' ? dataset('rationales') : null,
      }),
    srlmGradeLogprobs: ({ questions }: GradeLogprobsInput) =>
      done({
        ...{ value: 0.5, low: 0.4, high: 0.6, grades: dataset(`grades ${questions.sha256}`), total: 30, correct: 15 },
        ...{ leftOut: 2, gain: null },
      }),
    srlmReport: ({ round }: ReportInput) => ({ report: object(`report ${round}`), comparisons: [] }),
    srlmCurves: ({ replies_D }: CurvesInput) => object(`curves ${JSON.stringify(replies_D)}`),
    srlmWatch: () => done({ distinct2: 0.5, setChars: 50 }),
    srlmGate: () => ({ verdict: 'keep', difference: 0, low: -0.1, high: 0.1 }),
    srlmKeepRound: ({ table, preparation, round }: KeepRoundInput, _, counts: StepCounts = [], watch?: RoundWatch) => {
      const before = table ? tables.get(table.sha256) : undefined;
      const steps = round.steps.map((cost) => {
        const found = counts.find((one) => one.round === round.round && one.step === cost.step);
        return found ? { ...cost, counts: found.counts } : cost;
      });
      const kept = { ...round, ...(watch ? { watch } : {}), steps };
      const rounds = [...(before?.rounds ?? []).filter((one) => one.round < round.round), kept];
      return keep(tables, { version: 2, preparation: preparation ?? before?.preparation ?? [], rounds });
    },
    srlmReadRound: ({ table, round }: ReadRoundInput): RoundSummary => {
      const found = tables.get(table.sha256)!.rounds.find((one) => one.round === round)!;
      const { watch: _watch, ...rest } = found;
      return { ...rest, steps: found.steps.map(({ counts: _, ...cost }) => cost) };
    },
    srlmExport: () => undefined,
    // A teacher of whose replies two of three are of use, and data that never end.
    srlmDrawCatalysts: ({ againRows, rows, from }: DrawInput) =>
      done({ dataset: dataset(`drawn ${from}`, againRows + rows), drawn: rows, missingRationales: 0 }),
    srlmPickCatalysts: ({ asked, before, wave, count }: PickInput) => done(picked(asked.rows, before, wave, count)),
    srlmReadStudy: () => [],
    srlmReadStudyRun: fails('test.no-plan'),
    srlmLookAtRun: () => null,
    srlmKeepStudyRun: ({ runs, run }: KeepStudyRunInput) => object(`${runs?.sha256} ${run.index}`),
    srlmStudyResult: () => object('result'),
  };
}

function picked(asked: number, before: Picked | null, wave: number, count: number): Picked {
  const kept = Math.min(count, (before?.counts.kept ?? 0) + Math.floor((2 * asked) / 3));
  const all = (before?.counts.asked ?? 0) + asked;
  return {
    ...{ catalysts: dataset(`catalysts ${wave}`, kept), rejected: dataset(`rejected ${wave}`, all - kept) },
    again: kept < count ? dataset(`again ${wave}`, Math.ceil(asked / 3)) : null,
    counts: { of: 'catalysts', rows: all, asked: all, kept, rejected: { cut: all - kept }, skills: { detail: kept } },
  };
}

export const ACTIVITIES = Object.keys(defaults(new Map()));

function keep(tables: Map<string, RoundTable>, table: RoundTable): ObjectRef {
  const ref = object(JSON.stringify(table));
  tables.set(ref.sha256, table);
  return ref;
}

/** A round that is done. */
export const roundOf = (round: number, evaluated: boolean): RoundSummary => ({
  round,
  set: set(`set ${round}`),
  changed: null,
  candidates: null,
  decisions: null,
  model: model(`model ${round}`),
  trainLoss: 0.5,
  gate: null,
  steps: [],
  evaluation: evaluated ? evaluation(`round ${round}`) : null,
});

/** What the execution of the round before it leaves to that of `round`, where all went well; the last round is the best. */
export function leftBefore(round: number, tables: Map<string, RoundTable>, evaluated = false): RunProgress {
  const rounds = Array.from({ length: round }, (_, i) => roundOf(i, evaluated));
  const { model: last, set: lastSet, evaluation: lastEvaluation } = rounds.at(-1)!;
  const head = { round: round - 1, model: last, set: lastSet };
  return {
    startedAt: new Date().toISOString(),
    round,
    reached: round - 1,
    repairs: 0,
    rollbacksInARow: 0,
    prepared: { model: model('start'), set: set('examples'), catalysts: null, questions: dataset('questions') },
    head,
    best: { ...head, evaluation: lastEvaluation },
    table: keep(tables, { version: 2, preparation: [], rounds }),
    rounds: round,
    usage: NO_USAGE,
    warnings: [],
    unexported: [],
  };
}
