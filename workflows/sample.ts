/** Durable sampling of a data set from any engine, a run of its own. Imports nothing of Node. */

import { Prompts } from '../contracts/spec.js';
import type { SampleRunInput, SampleRunResult } from '../contracts/steps.js';
import { type Steps, wholeRun } from './steps.js';

export async function srlmSample(input: SampleRunInput): Promise<SampleRunResult> {
  return wholeRun(input.operations, null, (steps) => sample(input, steps));
}

async function sample({ spec, data }: SampleRunInput, steps: Steps): Promise<SampleRunResult> {
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
  const candidates = await steps.sharded(
    {
      step: 'sample',
      input: {
        purpose: 'prompt',
        engine: spec.engine,
        model,
        data: prompts.data,
        prompts: Prompts.parse({}),
        system: spec.system ?? null,
        prompt: spec.prompt,
        enrichFrom: 'original',
        sampling: spec.sampling,
        seed: spec.seed,
        round: 0,
        deterministic: spec.deterministic,
      },
    },
    'sample',
  );
  steps.state.state = 'done';
  steps.publish();
  return { prompts: prompts.data, candidates };
}
