/**
 * What decides the result of each step, in clear: a step's key is the digest of this. Activities look their records up
 * by it, and the audit finds by it the records behind a history. Pure.
 */
import type { Manifest } from '../contracts/artifacts.js';
import type { Deployment } from '../contracts/deployment.js';
import type { Prompts } from '../contracts/spec.js';
import type {
  FineTuneInput,
  GradeInput,
  IngestInput,
  MixInput,
  RationalizedInput,
  SelectInput,
  Sharded,
} from '../contracts/steps.js';

type Engines = Deployment['engines'];

/** A step's own: another number makes its old results count no more. */
const VERSION = { ingest: 1, sharded: 1, rows: 1, select: 1, mix: 1, fineTune: 1, grade: 1 } as const;

export const ingestInputs = ({ name: _, ...decides }: IngestInput) => ({ version: VERSION.ingest, ...decides });

export const rowsInputs = ({ data, candidates, prompts }: RationalizedInput) => ({
  version: VERSION.rows,
  data: data.sha256,
  candidates: candidates?.sha256 ?? null,
  prompts,
});

export const selectInputs = ({ data, candidates, offPolicy, onPolicy, ...rest }: SelectInput) => {
  const { prompts, enrichFrom, selection, seed, round } = rest;
  return {
    version: VERSION.select,
    data: data.sha256,
    candidates: candidates.sha256,
    offPolicy: offPolicy?.sha256 ?? null,
    onPolicy: onPolicy?.sha256 ?? null,
    prompts,
    enrichFrom,
    selection,
    round,
    // Only chance needs a seed.
    ...(selection.selector === 'random' ? { seed } : {}),
  };
};

export const mixInputs = ({ data, catalysts, copies, use, prompts }: MixInput) => ({
  version: VERSION.mix,
  data: data.sha256,
  catalysts: catalysts?.sha256 ?? null,
  copies,
  use,
  prompts,
});

export const fineTuneInputs = ({ base, data, training, seed, deterministic }: FineTuneInput) => {
  const { checkpoint: _, ...decides } = training;
  return {
    version: VERSION.fineTune,
    base: base.sha256,
    data: data.sha256,
    training: decides,
    seed,
    deterministic,
  };
};

export const gradeInputs = ({ questions, replies, confidence, prompts }: GradeInput & { prompts: Prompts }) => ({
  version: VERSION.grade,
  questions: questions.sha256,
  replies: replies.sha256,
  confidence,
  prompts,
});

/** Digests of weights and data, never a model's name; not the size of its chunks' files. */
export function shardedInputs(of: Sharded, engines: Engines) {
  const { data, ...decides } = deciding(of, engines);
  return of.step === 'score' ? { ...decides, data, candidates: of.input.candidates.sha256 } : { ...decides, data };
}

/** Of one chunk of a sharded step. `partner`: the chunk of candidates that is scored. */
export function chunkInputs(of: Sharded, chunk: Manifest, partner: Manifest | undefined, engines: Engines) {
  return { ...deciding(of, engines), data: chunk.sha256, ...(partner ? { candidates: partner.sha256 } : {}) };
}

function deciding(of: Sharded, engines: Engines) {
  const { input } = of;
  const engine = engines[input.engine];
  // A hosted model has no digest we could see: its address and name, and the revision the deployment states.
  const hosted = engine?.kind === 'openai' ? `${engine.baseUrl} ${engine.model} ${engine.revision}` : null;
  const weights = input.model ? input.model.sha256 : hosted;
  const { deterministic } = input;
  const version = VERSION.sharded;
  if (of.step === 'score') {
    const { prompts, enrichFrom, data } = of.input;
    return { version, weights, deterministic, data: data.sha256, prompts, enrichFrom };
  }
  const { purpose, prompts, system, prompt, enrichFrom, sampling, seed, round, data } = of.input;
  const { chunkSize: _, ...drawn } = sampling;
  // Greedy texts do not depend on a seed or a round; a rerun with another seed evaluates nothing twice.
  const luck = drawn.temperature === 0 ? {} : { seed, round };
  return {
    version,
    weights,
    deterministic,
    data: data.sha256,
    purpose,
    prompts,
    system,
    prompt,
    enrichFrom,
    sampling: drawn,
    ...luck,
  };
}
