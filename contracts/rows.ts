/**
 * Rows: the shapes kept in JSONL chunks. Hugging Face `datasets` and DuckDB read them directly.
 * Axes: E examples, K candidates of an example. `k = -1` is always the incumbent (the rationale that a row already has).
 */
import { z } from 'zod';

export const INCUMBENT = -1;
/** The k of the answer's log-probability without any rationale. */
export const NO_RATIONALE = -2;

/** The text as it can be encoded: half of a surrogate pair is no character, and becomes U+FFFD. */
export const encodable = (text: string): string => text.replace(/\p{Surrogate}/gu, '\uFFFD');

export const Message = z.strictObject({ role: z.enum(['system', 'user', 'assistant']), content: z.string() });
export type Message = z.infer<typeof Message>;

/**
 * All turns of a conversation before the reply, the last one of the user; a system message only as the first. null: the
 * text beside it is a single user turn, as in every row that a release before 0.4 stored.
 */
const Turns = z.array(Message).min(2).nullable().default(null);

/**
 * A training example. `instruction` is one text, also where `turns` has more than one. `original` is r0, null where the data has none and none was written yet; `rationale` is r(t),
 * empty where there is none; `origin` says which candidate of which round wrote r(t), null for the original.
 */
export const Example = z.strictObject({
  id: z.string().min(1),
  instruction: z.string().min(1),
  turns: Turns,
  original: z.string().nullable(),
  rationale: z.string(),
  answer: z.string().min(1),
  origin: z.strictObject({ round: z.int(), k: z.int() }).nullable(),
  /** Where the row is from, if the spec maps a field to it. */
  source: z.string().optional(),
});
export type Example = z.infer<typeof Example>;

/** A reasoning catalyst: (instruction, short rationale) -> enriched rationale. `answer` only if the source has it. */
export const Catalyst = z.strictObject({
  id: z.string().min(1),
  instruction: z.string().min(1),
  rationale: z.string().min(1),
  enriched: z.string().min(1),
  skills: z.array(z.string()),
  answer: z.string().nullable(),
});
export type Catalyst = z.infer<typeof Catalyst>;

/**
 * A held-out question. With `choices`, `answer` is the letter of the right one (A, B, ...); neither `question` nor the
 * last of `turns` lists them.
 */
export const Question = z.strictObject({
  id: z.string().min(1),
  question: z.string().min(1),
  turns: Turns,
  choices: z.array(z.string()).min(2).max(26).nullable(),
  answer: z.string().min(1),
});
export type Question = z.infer<typeof Question>;

/** A row of `srlm sample`: what is asked. */
export const PromptRow = z.strictObject({ id: z.string().min(1), instruction: z.string().min(1), turns: Turns });
export type PromptRow = z.infer<typeof PromptRow>;

/**
 * How a text ended: by itself; cut at maxTokens; withheld or cut by a content filter; refused, by the model or because
 * the endpoint takes no such prompt; in another way, or nobody knows.
 */
export const Finish = z.enum(['stop', 'length', 'filtered', 'refused', 'other']);
export type Finish = z.infer<typeof Finish>;
export const MAX_REASON_CHARS = 200;

/**
 * What came for one of the K texts of a row: a text, or the reason why there is none. Every row has K of these. `seed` is
 * what the engine was given for it; null where the engine takes none. `reasoning`: what the model thought before it
 * wrote the text, where the engine reports that apart.
 */
export const Candidate = z.strictObject({
  id: z.string(),
  k: z.int().min(0),
  text: z.string(),
  finish: Finish,
  reason: z.string().max(MAX_REASON_CHARS).nullable().default(null),
  reasoning: z.string().optional(),
  tokens: z.int().min(0).nullable(),
  seed: z.int().nullable(),
});
export type Candidate = z.infer<typeof Candidate>;

/** A candidate once it is parsed. `truncated`: it was cut at the length before its rationale had ended. */
export const ParsedCandidate = z.strictObject({
  id: z.string(),
  k: z.int().min(0),
  rationale: z.string(),
  truncated: z.boolean(),
});
export type ParsedCandidate = z.infer<typeof ParsedCandidate>;

/** The eight skills [paper] that a catalyst may show; its enriched rationale is tagged with those that it uses. */
export const SKILLS = [
  'reflection',
  'decomposition',
  'detail',
  'summary',
  'alternative-thinking',
  'backward-thinking',
  'analogy',
  'checking',
] as const;
export const Skill = z.enum(SKILLS);
export type Skill = z.infer<typeof Skill>;

export const GUARDS = ['empty', 'truncated', 'repetition', 'unchanged', 'copied-prompt', 'pasted-answer'] as const;
export const Guard = z.enum(GUARDS);
export type Guard = z.infer<typeof Guard>;

/** How a reply of a teacher can miss the form that it was asked for. */
export const FORM_FAULTS = [
  'no-skills-line',
  'unknown-skill',
  'too-few-skills',
  'too-many-skills',
  'no-reasoning-line',
  'answer-line',
] as const;
export const FormFault = z.enum(FORM_FAULTS);
export type FormFault = z.infer<typeof FormFault>;

/**
 * Why a row gave no catalyst: it has no short rationale; no text came, or it was cut; the form; a guard; the text is no
 * longer than the short rationale, gives away the answer, is nearly that of a catalyst which is kept, or shows a skill
 * that the set has enough of.
 */
export const REJECTIONS = [
  ...(['no-rationale', 'refused', 'filtered', 'cut'] as const),
  ...FORM_FAULTS,
  ...GUARDS,
  ...(['not-longer', 'answer-given-away', 'duplicate', 'surplus'] as const),
] as const;
export const Rejection = z.enum(REJECTIONS);
export type Rejection = z.infer<typeof Rejection>;

/** A reply that became no catalyst; `wave`: when it was asked for, from 1. */
export const RejectedReply = z.strictObject({
  id: z.string(),
  wave: z.int().min(1),
  why: Rejection,
  /** In words: the name that is no skill, the id of the catalyst that it repeats, or what the endpoint says. */
  detail: z.string().max(MAX_REASON_CHARS).nullable(),
  text: z.string(),
});
export type RejectedReply = z.infer<typeof RejectedReply>;

/**
 * Log-probabilities that a selector may read: those of the answer given the instruction and a rationale, under the
 * reference model (off-policy) and under the current one (on-policy).
 */
export const SCORES = ['off-policy', 'on-policy'] as const;
export const ScoreName = z.enum(SCORES);
export type ScoreName = z.infer<typeof ScoreName>;

/** The log-probability of each token of the answer, in nats, rounded to 0.01 so that the table stays small. */
const TokenLogprobs = z.array(z.number().max(0));

/**
 * How likely a model finds the answer after one rationale, or without any. `score`: the mean over the tokens, in nats per
 * token, exact. A release before 0.4 kept it alone.
 */
export const Score = z.strictObject({
  id: z.string(),
  k: z.int().min(NO_RATIONALE),
  score: z.number(),
  logprobs: TokenLogprobs.optional(),
});
export type Score = z.infer<typeof Score>;

export const MAX_VERDICT_CHARS = 200;
/**
 * A judge's comparison of a candidate with the incumbent. `score`: the share of the two orders in which the candidate is
 * better, a tie counts a half; the incumbent's own is 0.5. `replies`: what the judge said with the candidate first, and
 * second; the end of it, where it is long.
 */
export const Verdict = z.strictObject({
  id: z.string(),
  k: z.int().min(INCUMBENT),
  score: z.number().min(0).max(1),
  replies: z.array(z.string().max(MAX_VERDICT_CHARS)).max(2),
});
export type Verdict = z.infer<typeof Verdict>;

/** One line of the table "candidates x scores", kept whole: what was seen, every score, and what won. */
export const Decision = z.strictObject({
  id: z.string(),
  k: z.int().min(INCUMBENT),
  rationale: z.string(),
  guard: Guard.nullable(),
  chars: z.int(),
  /**
   * Mean log-probabilities of the answer, under each model that was asked, and the other values that the selector
   * compared; null: the text is longer than the model's context.
   */
  scores: z.record(z.string(), z.number().nullable()),
  /** The same for each token of the answer. */
  logprobs: z.partialRecord(ScoreName, TokenLogprobs).optional(),
  /** The same without a rationale; the incumbent alone has it. */
  withoutRationale: z.partialRecord(ScoreName, TokenLogprobs).optional(),
  chosen: z.boolean(),
});
export type Decision = z.infer<typeof Decision>;

/** A line the trainer reads: the loss is on the last message only. `source` and `id` lead back to the row. */
export const TrainingRow = z.strictObject({
  messages: z.array(Message).min(2),
  source: z.enum(['answer', 'enrich', 'catalyst-answer']),
  id: z.string(),
});
export type TrainingRow = z.infer<typeof TrainingRow>;

/**
 * A graded reply; `given` is the answer found in it, null when there is none. The texts are for who reads them (`srlm
 * show`); a release before 0.4 kept neither.
 */
export const Grade = z.strictObject({
  id: z.string(),
  correct: z.boolean(),
  given: z.string().nullable(),
  expected: z.string(),
  /** It is in the training data, and does not count. */
  leftOut: z.literal(true).optional(),
  /** As it was asked, with its choices. */
  question: z.string().optional(),
  reply: z.string().optional(),
});
export type Grade = z.infer<typeof Grade>;

/**
 * How likely the model finds an expected answer that nothing can grade: nats a token, after its own rationale and without
 * one; null: longer than its context.
 */
export const LikelihoodGrade = Grade.omit({ correct: true, given: true }).extend({
  nats: z.number().nullable(),
  natsAlone: z.number().nullable(),
});
export type LikelihoodGrade = z.infer<typeof LikelihoodGrade>;
