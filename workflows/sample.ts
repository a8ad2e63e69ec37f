/** Durable sampling of a data set from any engine: a run of its own, with one sharded step. */
import { type OperatorRecord, type RunProgress, SampleInput, type SampleResult } from '../contracts/run.js';
import { SampleSettings } from '../contracts/spec.js';
import { begin, parsed, toEnd } from './chain.js';
import type { RunControl } from './control/control.js';
import { sharded } from './steps/shards.js';
import { step } from './steps/step.js';

export async function srlmSample(
  rawInput: SampleInput,
  rawRecord?: OperatorRecord,
  rawProgress?: RunProgress,
): Promise<SampleResult> {
  const input = parsed('sample input', SampleInput, rawInput);
  const { settings, config } = input;
  const start = { settings, schema: SampleSettings, config, forkOf: null };
  const run = begin(start, rawRecord, rawProgress);
  return toEnd(run, input, () => sample(run, input));
}

async function sample(
  run: RunControl<SampleSettings>,
  { texts, data, loadsModel }: SampleInput,
): Promise<SampleResult> {
  const { sampling } = run.settings;
  const model = loadsModel ? await step(run, 'prepare', ({ gpu }) => gpu.srlmPrepareModel({ texts })) : null;
  const { dataset } = await step(run, 'ingest prompts', ({ cpu }) => {
    const { limit = null } = run.settings.data;
    const { chunkSize } = sampling;
    return cpu.srlmIngest({
      kind: 'prompts',
      source: 'data',
      texts,
      file: data,
      limit,
      chunkSize,
    });
  });
  const candidates = await sharded(run, 'sample', () => {
    const { engine, seed, deterministic } = run.settings;
    const { chunkSize: _, maxFailedShare: __, ...drawn } = run.settings.sampling;
    return {
      step: 'sample',
      purpose: 'prompt',
      engine,
      model,
      data: dataset,
      texts,
      enrichFrom: 'original',
      sampling: drawn,
      seed,
      round: 0,
      deterministic,
    };
  });
  return { prompts: dataset, candidates };
}
