/**
 * What decides the result of each step, in clear text: a step's key is the digest of its name and of this. A key holds
 * digests of data and weights, never a name; the settings and templates that matter; and the version of every piece of
 * code that takes part. Raising a version makes the old results of what it decides unfindable. Pure.
 */
import type { DrawInput, PickInput } from '../contracts/catalysts.js';
import type { DeepenStep } from '../contracts/curve-settings.js';
import type { ObjectRef } from '../contracts/refs.js';
import type { AnswerRowsInput, GradeLogprobsInput } from '../contracts/set-steps.js';
import type { Fields, PromptTemplates } from '../contracts/spec.js';
import type {
  AddRationalesInput,
  FineTuneInput,
  GradeInput,
  IngestInput,
  JudgeStep,
  LogprobStep,
  MixInput,
  ParseInput,
  SampleStep,
  SelectInput,
} from '../contracts/steps.js';
import type { WatchInput } from '../contracts/watch-input.js';
import { VERSION as ANSWERS } from '../method/answers.js';
import { VERSION as DRAW } from '../method/catalysts/draw.js';
import { VERSION as PICK } from '../method/catalysts/pick.js';
import { VERSION as CATALYST_PROMPT } from '../method/catalysts/prompt.js';
import { VERSION as CHUNKS } from '../method/chunks.js';
import { VERSION as FORMATS } from '../method/formats/index.js';
import { VERSION as GRADERS } from '../method/graders/index.js';
import { VERSION as GUARDS } from '../method/guards/index.js';
import { VERSION as JUDGE } from '../method/judge.js';
import { VERSION as LIKELIHOOD } from '../method/likelihood.js';
import { VERSION as MIXTURE } from '../method/mixture.js';
import { VERSION as PARSE } from '../method/parse.js';
import { VERSION as PROMPTS } from '../method/prompts.js';
import { VERSION as RANDOM } from '../method/random.js';
import { draws, VERSION as SELECTORS } from '../method/selectors/index.js';
import { VERSION as STATISTICS } from '../method/statistics.js';
import { VERSION as WATCH } from '../method/watch/index.js';

/** Versions of the activities and of the programs behind them: the model server (sample, logprob) and the trainer. */
const VERSION = {
  ingest: 2,
  addRationales: 2,
  sample: 2,
  logprob: 3,
  judge: 1,
  parse: 1,
  select: 3,
  mix: 1,
  fineTune: 2,
  grade: 2,
  draw: 1,
  pick: 1,
  answerRows: 1,
  gradeLogprobs: 1,
  deepen: 1,
  watch: 1,
} as const;

export const ingestInputs = (
  { kind, file, limit, chunkSize }: IngestInput,
  { fields, skipInvalid }: { fields: Fields; skipInvalid: boolean },
) => ({
  versions: [VERSION.ingest, FORMATS, CHUNKS, PROMPTS, RANDOM],
  kind,
  file: file.sha256,
  fields,
  skipInvalid,
  limit,
  chunkSize,
});

export const addRationalesInputs = ({ data, candidates }: AddRationalesInput, { reply }: PromptTemplates) => ({
  versions: [VERSION.addRationales, PARSE, PROMPTS],
  data: data.sha256,
  candidates: candidates.sha256,
  templates: { reply },
});

/**
 * Everything that decides the samples of a chunk, its rows aside. `weights`: what the engine says it answers with.
 * Greedy texts do not depend on seed or round, so that a run with another seed evaluates nothing twice.
 */
export function sampleRecipe(
  { purpose, enrichFrom, sampling, seed, round, deterministic }: SampleStep,
  texts: { prompts: PromptTemplates; system: string | null; prompt: string | null },
  weights: string,
) {
  const { answer, reply, enrich, rationalize } = texts.prompts;
  const asked = {
    enrich: { enrich, reply, enrichFrom },
    rationalize: { rationalize },
    evaluate: { answer },
    prompt: { system: texts.system, prompt: texts.prompt },
    // The skills to prefer are drawn for each row and wave, also where the texts are not.
    catalyst: { system: texts.system, prompt: texts.prompt, version: CATALYST_PROMPT, seed, wave: round },
  }[purpose];
  const drawn = sampling.temperature === 0 ? {} : { seed, round };
  return { versions: [VERSION.sample, PROMPTS, RANDOM], weights, deterministic, purpose, asked, sampling, ...drawn };
}

/** Guards take no part: every distinct candidate gets its log-probability. */
export const logprobRecipe = (
  { candidates, deterministic }: LogprobStep,
  prompts: PromptTemplates,
  weights: string,
) => ({
  versions: [VERSION.logprob, PROMPTS],
  rationales: candidates ? 'candidates' : 'none',
  weights,
  deterministic,
  templates: { answer: prompts.answer, reply: prompts.reply },
});

export const judgeRecipe = (
  { enrichFrom, maxTokens, deterministic }: JudgeStep,
  { judge, enrich }: PromptTemplates,
  weights: string,
) => ({
  versions: [VERSION.judge, JUDGE, GUARDS, PROMPTS],
  weights,
  deterministic,
  maxTokens,
  // Guards read what the candidates were asked for.
  enrichFrom,
  templates: { judge, enrich },
});
/** The answers are greedy in any case; a rationale that is sampled depends on seed and depth. */
export function deepenRecipe(
  { sampling, seed, depth, deterministic }: DeepenStep,
  { answer, reply, enrich }: PromptTemplates,
  weights: string,
) {
  return {
    versions: [VERSION.deepen, PARSE, PROMPTS, RANDOM],
    weights,
    deterministic,
    templates: { answer, reply, enrich },
    sampling,
    ...(sampling.temperature === 0 ? {} : { seed, depth }),
  };
}

/** A whole sharded step. `data`: all datasets it reads, chunk by chunk. */
export const shardedInputs = (recipe: object, data: readonly ObjectRef[]) => ({
  recipe,
  data: data.map(({ sha256 }) => sha256),
});

/** One chunk. The recipe may hold long prompts, so a chunk's record has its digest only. */
export const chunkInputs = (recipeSha256: string, chunks: readonly ObjectRef[]) => ({
  recipe: recipeSha256,
  data: chunks.map(({ sha256 }) => sha256),
});

export const parseInputs = ({ candidates }: ParseInput, { reply }: PromptTemplates) => ({
  versions: [VERSION.parse, PARSE, PROMPTS],
  candidates: candidates.sha256,
  templates: { reply },
});

export const selectInputs = (
  { data, candidates, scores, withoutRationale, judged, enrichFrom, selection, seed, round }: SelectInput,
  { enrich }: PromptTemplates,
  own?: { version: string },
) => ({
  versions: [VERSION.select, GUARDS, SELECTORS, PROMPTS, RANDOM],
  data: data.sha256,
  candidates: candidates.sha256,
  scores: digestsOf(scores),
  withoutRationale: digestsOf(withoutRationale),
  ...(judged ? { judged: judged.sha256 } : {}),
  ...(own ? { own: own.version } : {}),
  templates: { enrich },
  enrichFrom,
  selection,
  round,
  // Only chance needs a seed.
  ...(draws(selection.selector) || own ? { seed } : {}),
});

const digestsOf = (datasets: Record<string, ObjectRef>) =>
  Object.fromEntries(Object.entries(datasets).map(([name, { sha256 }]) => [name, sha256]));

export const mixInputs = ({ data, catalysts, copies, use }: MixInput, prompts: PromptTemplates) => ({
  versions: [VERSION.mix, MIXTURE, PROMPTS],
  data: data.sha256,
  catalysts: catalysts?.sha256 ?? null,
  copies,
  use,
  templates: { answer: prompts.answer, reply: prompts.reply, enrich: prompts.enrich },
});

/**
 * Not how often a checkpoint is written. Nor how many rows a device takes at once, but for the last bits of the weights:
 * only in deterministic mode do these matter.
 */
export const fineTuneInputs = ({
  base,
  data,
  training,
  seed,
  deterministic,
  microBatchSize: smaller,
}: FineTuneInput) => {
  const { checkpoint: _, from: __, microBatchSize, ...decides } = training;
  return {
    versions: [VERSION.fineTune],
    base: base.sha256,
    data: data.sha256,
    training: decides,
    seed,
    deterministic,
    ...(deterministic ? { microBatchSize: smaller ?? microBatchSize ?? null } : {}),
  };
};

/** `leftOut`: ids of questions that do not count. Without any, the key is that of a release before 0.4. */
export const gradeInputs = (
  { questions, replies, confidence }: GradeInput,
  { reply }: PromptTemplates,
  leftOut: ReadonlySet<string> = new Set(),
) => ({
  versions: [VERSION.grade, GRADERS, ANSWERS, PARSE, PROMPTS, STATISTICS, RANDOM],
  questions: questions.sha256,
  replies: replies.sha256,
  confidence,
  templates: { reply },
  ...leftOutInputs(leftOut),
});

const leftOutInputs = (leftOut: ReadonlySet<string>) => (leftOut.size > 0 ? { leftOut: [...leftOut].sort() } : {});

export const answerRowsInputs = ({ kind, questions, replies }: AnswerRowsInput, { reply }: PromptTemplates) => ({
  versions: [VERSION.answerRows, LIKELIHOOD, PARSE, PROMPTS],
  kind,
  questions: questions.sha256,
  replies: replies?.sha256 ?? null,
  templates: { reply },
});

export const gradeLogprobsInputs = (
  { kind, questions, replies, scores, confidence, seed }: GradeLogprobsInput,
  leftOut: ReadonlySet<string>,
) => ({
  versions: [VERSION.gradeLogprobs, LIKELIHOOD, PARSE, PROMPTS, STATISTICS, RANDOM],
  kind,
  questions: questions.sha256,
  replies: replies?.sha256 ?? null,
  scores: scores.sha256,
  confidence,
  // Only the bootstrap needs a seed.
  ...(kind === 'likelihood' ? { seed } : {}),
  ...leftOutInputs(leftOut),
});

export const drawInputs = ({ data, again, againRows, from, rows, chunkSize, seed }: DrawInput) => ({
  versions: [VERSION.draw, DRAW, RANDOM],
  data: data.sha256,
  again: again?.sha256 ?? null,
  againRows,
  from,
  rows,
  chunkSize,
  seed,
});

export const pickInputs = (
  { wave, asked, replies, before, count, tries, maxSkillShare }: PickInput,
  prompts: PromptTemplates,
) => ({
  versions: [VERSION.pick, PICK, GUARDS, PROMPTS, RANDOM],
  asked: asked.sha256,
  replies: replies.sha256,
  // The counts follow from these, and from what was asked before.
  before: before && {
    catalysts: before.catalysts.sha256,
    rejected: before.rejected.sha256,
    asked: before.counts.asked,
  },
  wave,
  count,
  tries,
  maxSkillShare,
  templates: { enrich: prompts.enrich },
});

/** What it compares with other rounds of the run is no part of the record. */
export const watchInputs = ({ decisions, evaluation, selection }: WatchInput) => ({
  versions: [VERSION.watch, WATCH, GUARDS, PROMPTS, SELECTORS, RANDOM],
  decisions: decisions?.sha256 ?? null,
  grades: evaluation?.grades.sha256 ?? null,
  selector: selection.selector,
});
