/** Durable sampling of a data set from any engine, a run of its own. Imports nothing of Node. */

import { Prompts, type SampleSpec } from '../contracts/spec.js';
import type { SampleRunInput, SampleRunResult } from '../contracts/steps.js';
import { type Steps, wholeRun } from './steps.js';

export async function srlmSample(input: SampleRunInput): Promise<SampleRunResult> {
  const { operations, spec } = input;
  return wholeRun({ operations, spec, round: null, rounds: null }, (steps) => sample(input, steps));
}

async function sample({ data }: SampleRunInput, steps: Steps<SampleSpec>): Promise<SampleRunResult> {
  const { spec } = steps;
  const path = spec.model?.path;
  const model = path ? await steps.step('prepare', () => steps.gpu('prepare').srlmPrepareModel({ path })) : null;
  const prompts = await steps.step('ingest prompts', () =>
    steps.cpu.srlmIngest({
      kind: 'prompts',
      file: data,
      name: spec.data.path,
      fields: spec.data.fields,
      limit: spec.data.limit ?? null,
      chunkSize: spec.sampling.chunkSize,
    }),
  );
  const candidates = await steps.sharded(() => {
    const { engine, system, prompt, sampling, seed, deterministic } = steps.spec;
    return {
      step: 'sample',
      input: {
        purpose: 'prompt',
        engine,
        model,
        data: prompts.data,
        prompts: Prompts.parse({}),
        system: system ?? null,
        prompt,
        enrichFrom: 'original',
        sampling,
        seed,
        round: 0,
        deterministic,
      },
    };
  }, 'sample');
  steps.state.state = 'done';
  steps.publish();
  return { prompts: prompts.data, candidates };
}
