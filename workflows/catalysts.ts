/**
 * Catalysts from a teacher: a run of its own, in waves. A wave draws rows, asks the teacher about each, and picks what is
 * of use; rows whose reply was not are asked again in the next wave, with another seed. It ends when there are as many
 * catalysts as wanted, or when rows, tries or requests are used up (method/catalysts/waves.ts); what was kept up to then
 * is its result. A teacher that is away, or refuses all, parks it as it parks any run.
 */
import {
  CatalystInput,
  type CatalystResult,
  CatalystSettings,
  type DrawOutput,
  type Picked,
  requestsOf,
} from '../contracts/catalysts.js';
import type { DatasetRef, ModelRef } from '../contracts/refs.js';
import type { OperatorRecord, RunProgress } from '../contracts/run.js';
import { nextWave } from '../method/catalysts/waves.js';
import { begin, parsed, toEnd } from './chain.js';
import type { RunControl } from './control/control.js';
import { sharded } from './steps/shards.js';
import { step } from './steps/step.js';

/** First rationales are short because of their prompt; the bound only ends what would not stop. */
const RATIONALE_TOKENS = 160;

type Build = RunControl<CatalystSettings>;

export async function srlmCatalysts(
  rawInput: CatalystInput,
  rawRecord?: OperatorRecord,
  rawProgress?: RunProgress,
): Promise<CatalystResult> {
  const input = parsed('catalysts input', CatalystInput, rawInput);
  const { settings, config } = input;
  const start = { settings, schema: CatalystSettings, config, forkOf: null };
  const run = begin(start, rawRecord, rawProgress);
  return toEnd(run, input, () => build(run, input));
}

async function build(run: Build, input: CatalystInput): Promise<CatalystResult> {
  const { texts, loadsModel } = input;
  const model = loadsModel ? await step(run, 'prepare', ({ gpu }) => gpu.srlmPrepareModel({ texts })) : null;
  const { dataset: data } = await step(run, 'ingest examples', ({ cpu }) => {
    const { limit = null } = run.settings.data;
    const { chunkSize } = run.settings.sampling;
    return cpu.srlmIngest({ kind: 'examples', source: 'data', texts, file: input.data, limit, chunkSize });
  });
  let picked: Picked | null = null;
  let from = 0;
  let noneLeft = false;
  for (let waves = 0; ; waves++) {
    const { count } = run.settings;
    const done: Picked | null = picked;
    const again: DatasetRef | null = done?.again ?? null;
    const so = { waves, counts: done?.counts ?? null, again: again?.rows ?? 0, noneLeft };
    const next = nextWave(so, { count, maxRequests: requestsOf(run.settings) });
    if (next.end !== null) return result(done, next.end);
    const { rows, again: againRows } = next;
    const drawn: DrawOutput = await step(run, `draw (wave ${waves + 1})`, ({ cpu }) => {
      const { seed, sampling } = run.settings;
      return cpu.srlmDrawCatalysts({ data, again, againRows, from, rows, chunkSize: sampling.chunkSize, seed });
    });
    from += drawn.drawn;
    noneLeft ||= drawn.drawn < rows;
    if (drawn.dataset.rows === 0) return result(done, 'rows');
    picked = await wave(run, input, waves + 1, drawn, model, done);
  }
}

/** Every ending has a wave before it: the data have a row at least. */
const result = (picked: Picked | null, ended: CatalystResult['ended']): CatalystResult => {
  const { catalysts, rejected, counts } = picked!;
  return { catalysts, rejected, counts, ended };
};

/** Asks the teacher about each row, and picks. */
async function wave(
  run: Build,
  { texts }: CatalystInput,
  number: number,
  drawn: DrawOutput,
  model: ModelRef | null,
  before: Picked | null,
): Promise<Picked> {
  const asked = drawn.missingRationales > 0 ? await withRationales(run, texts, number, drawn, model) : drawn.dataset;
  const replies = await sharded(
    run,
    `sample (wave ${number})`,
    () => {
      const { chunkSize: _, maxFailedShare: __, ...sampling } = run.settings.sampling;
      return {
        ...{ step: 'sample', purpose: 'catalyst', enrichFrom: 'original', data: asked, texts, model, round: number },
        sampling: { ...sampling, k: 1 },
        ...machine(run),
      };
    },
    // Later waves ask mostly rows that had no text before; a teacher that sends none at all parks in the first one.
    { mayFail: number > 1 },
  );
  return step(run, `pick (wave ${number})`, ({ cpu }) => {
    const { count, tries, maxSkillShare } = run.settings;
    return cpu.srlmPickCatalysts({ wave: number, asked, replies, before, texts, count, tries, maxSkillShare });
  });
}

/** Where r0 is missing, the teacher writes a short one from (x, y) [ours], for the rows that were drawn only. */
async function withRationales(
  run: Build,
  texts: CatalystInput['texts'],
  number: number,
  { dataset }: DrawOutput,
  model: ModelRef | null,
): Promise<DatasetRef> {
  const candidates = await sharded(
    run,
    `rationalize (wave ${number})`,
    () => {
      const { chunkSize: _, maxFailedShare: __, maxTokens, ...sampling } = run.settings.sampling;
      const short = { k: 1, temperature: 0, maxTokens: Math.min(RATIONALE_TOKENS, maxTokens), stop: [] };
      return {
        ...{ step: 'sample', purpose: 'rationalize', enrichFrom: 'original', data: dataset, texts, model, round: 0 },
        sampling: { ...sampling, ...short },
        ...machine(run),
      };
    },
    { mayFail: number > 1 },
  );
  const { set } = await step(run, `addRationales (wave ${number})`, ({ cpu }) =>
    cpu.srlmAddRationales({ data: dataset, candidates, texts }),
  );
  return set.dataset;
}

const machine = ({ settings: { engine, seed, deterministic } }: Build) => ({ engine, seed, deterministic });
