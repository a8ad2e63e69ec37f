/**
 * Counts: what a step received of what it asked for, or left out. They are part of a step's output, so that a step that
 * is found under its key is counted as well. Also the sentence that shows them, one for all places. Pure.
 */
import { z } from 'zod';
import { jsonBytes } from './refs.js';
import { type Candidate, encodable, Guard, Rejection, Skill } from './rows.js';

const Count = z.int().min(0);

/** A chunk's record is a file; a step's counts are part of a payload. */
const MAX_REASONS = { chunk: 50, step: 4 };
const MAX_REASON_CHARS = 60;
/** The bytes of its JSON. */
const MAX_REASON_BYTES = 90;
/** Why something is missing, the most frequent first. */
const Reasons = z
  .array(z.strictObject({ reason: z.string().max(MAX_REASON_CHARS), count: Count }))
  .max(MAX_REASONS.chunk);
type Reasons = z.infer<typeof Reasons>;
const OTHER_REASONS = 'other reasons';

/**
 * Sampling. `rows`: asked; `withText`: rows with one text or more. Each text that was asked for is one of `texts`
 * (something came) or of `empty`, `filtered`, `refused` and the cut ones of which nothing came. `cut`: ended at
 * maxTokens, with or without a text. `suspect`: empty because the endpoint misbehaved.
 */
export const TextCounts = z.strictObject({
  of: z.literal('texts'),
  rows: Count,
  withText: Count,
  asked: Count,
  texts: Count,
  empty: Count,
  cut: Count,
  filtered: Count,
  refused: Count,
  suspect: Count,
  maxTokens: Count,
  reasons: Reasons,
});
export type TextCounts = z.infer<typeof TextCounts>;

/** Log-probabilities: candidates, and those that are longer than the model's context. */
export const ScoreCounts = z.strictObject({ of: z.literal('scores'), candidates: Count, without: Count });
export type ScoreCounts = z.infer<typeof ScoreCounts>;

/**
 * A judge: comparisons of a candidate with the incumbent, each in both orders, hence two replies. `agree`: both orders
 * prefer the same text. `first`, `second`: replies that prefer the text in that place; a judge without a bias has as many
 * of both. `unread`: replies without a verdict; `suspect`: those of them that are empty because the endpoint misbehaved.
 */
export const VerdictCounts = z.strictObject({
  of: z.literal('verdicts'),
  comparisons: Count,
  agree: Count,
  first: Count,
  second: Count,
  ties: Count,
  unread: Count,
  suspect: Count,
});
export type VerdictCounts = z.infer<typeof VerdictCounts>;

/** Selection: candidates, and those that a guard kept out. */
export const GuardCounts = z.strictObject({
  of: z.literal('guards'),
  candidates: Count,
  guards: z.partialRecord(Guard, Count),
});
export type GuardCounts = z.infer<typeof GuardCounts>;

/** First rationales: rows that had none, and those that still have none. */
export const RationaleCounts = z.strictObject({ of: z.literal('rationales'), rows: Count, without: Count });
export type RationaleCounts = z.infer<typeof RationaleCounts>;

/** Training: rows of the mixture, those left out because they are longer than maxLength, and those cut to it. */
export const TrainingCounts = z.strictObject({ of: z.literal('training'), rows: Count, leftOut: Count, cut: Count });
export type TrainingCounts = z.infer<typeof TrainingCounts>;

/**
 * Catalysts: rows drawn from the data, requests to the teacher, catalysts kept, and why the other rows gave none, each by
 * its last outcome. `skills`: catalysts that show a skill.
 */
export const CatalystCounts = z.strictObject({
  of: z.literal('catalysts'),
  rows: Count,
  asked: Count,
  kept: Count,
  rejected: z.partialRecord(Rejection, Count),
  skills: z.partialRecord(Skill, Count),
});
export type CatalystCounts = z.infer<typeof CatalystCounts>;

export const Counts = z.discriminatedUnion('of', [
  TextCounts,
  ScoreCounts,
  VerdictCounts,
  GuardCounts,
  RationaleCounts,
  TrainingCounts,
  CatalystCounts,
]);
export type Counts = z.infer<typeof Counts>;

/** What a sharded step counts of each chunk. */
export type ChunkCounts = TextCounts | ScoreCounts | VerdictCounts;

type Sampled = Pick<Candidate, 'id' | 'text' | 'finish' | 'reason'>;

const isEmpty = ({ text }: Sampled) => text.trim() === '';

/** Empty because the endpoint misbehaved: asked again, it may answer. */
export const isSuspect = (one: Sampled): boolean => one.finish === 'other' && isEmpty(one);

/** `asked`: rows that were asked for texts. */
export function countTexts(candidates: readonly Sampled[], asked: number, maxTokens: number): TextCounts {
  const withText = new Set<string>();
  const reasons = new Map<string, number>();
  const counts = { texts: 0, empty: 0, cut: 0, filtered: 0, refused: 0, suspect: 0 };
  for (const one of candidates) {
    const { id, finish, reason } = one;
    if (finish === 'length') counts.cut++;
    if (finish === 'filtered') counts.filtered++;
    if (finish === 'refused') counts.refused++;
    if (isSuspect(one)) counts.suspect++;
    if (isEmpty(one)) {
      if (finish === 'stop' || finish === 'other') counts.empty++;
    } else {
      counts.texts++;
      withText.add(id);
    }
    if (reason !== null) raise(reasons, short(reason), 1);
  }
  return {
    of: 'texts',
    rows: asked,
    withText: withText.size,
    asked: candidates.length,
    ...counts,
    maxTokens,
    reasons: most(reasons, MAX_REASONS.chunk),
  };
}

/** All of a step, from those of its chunks. null: there are none. */
export function addCounts(chunks: readonly ChunkCounts[]): ChunkCounts | null {
  const [first, ...rest] = chunks;
  if (first === undefined) return null;
  const sum = rest.reduce(added, first);
  return sum.of !== 'texts' ? sum : { ...sum, reasons: most(counted(sum.reasons), MAX_REASONS.step) };
}

function added(a: ChunkCounts, b: ChunkCounts): ChunkCounts {
  if (a.of === 'scores' && b.of === 'scores')
    return { of: 'scores', candidates: a.candidates + b.candidates, without: a.without + b.without };
  if (a.of === 'verdicts' && b.of === 'verdicts')
    return {
      of: 'verdicts',
      comparisons: a.comparisons + b.comparisons,
      agree: a.agree + b.agree,
      first: a.first + b.first,
      second: a.second + b.second,
      ties: a.ties + b.ties,
      unread: a.unread + b.unread,
      suspect: a.suspect + b.suspect,
    };
  if (a.of !== 'texts' || b.of !== 'texts') throw new Error(`cannot add ${a.of} and ${b.of}`);
  const reasons = counted(a.reasons);
  for (const { reason, count } of b.reasons) raise(reasons, reason, count);
  return {
    of: 'texts',
    rows: a.rows + b.rows,
    withText: a.withText + b.withText,
    asked: a.asked + b.asked,
    texts: a.texts + b.texts,
    empty: a.empty + b.empty,
    cut: a.cut + b.cut,
    filtered: a.filtered + b.filtered,
    refused: a.refused + b.refused,
    suspect: a.suspect + b.suspect,
    maxTokens: a.maxTokens,
    reasons: most(reasons, MAX_REASONS.chunk),
  };
}

const counted = (reasons: Reasons) => new Map(reasons.map(({ reason, count }) => [reason, count]));

const raise = (reasons: Map<string, number>, reason: string, by: number) =>
  reasons.set(reason, (reasons.get(reason) ?? 0) + by);

/** One line, cut, but not in the middle of a character. */
function short(reason: string): string {
  const line = reason
    .slice(0, 4 * MAX_REASON_CHARS)
    .replace(/[\s\p{C}]+/gu, ' ')
    .trim();
  let cut = encodable(line.slice(0, MAX_REASON_CHARS)).trim();
  while (jsonBytes(cut) > MAX_REASON_BYTES) cut = encodable(cut.slice(0, -1));
  return cut;
}

/** The most frequent ones; all others are counted together, so that the sum stays right. */
function most(reasons: Map<string, number>, limit: number): Reasons {
  const others = reasons.get(OTHER_REASONS) ?? 0;
  const named = [...reasons]
    .filter(([reason]) => reason !== OTHER_REASONS)
    .map(([reason, count]) => ({ reason, count }))
    .sort((a, b) => b.count - a.count || (a.reason < b.reason ? -1 : 1));
  const listed = named.length + Math.sign(others) <= limit ? named : named.slice(0, limit - 1);
  const rest = named.slice(listed.length).reduce((sum, { count }) => sum + count, others);
  return rest > 0 ? [...listed, { reason: OTHER_REASONS, count: rest }] : listed;
}

// --- what is shown ----------------------------------------------------------------------------------------------------
/** `1,988 of 2,000 rows have texts; 9 cut at maxTokens 48, 3 refused (content_filter)`. */
export function countsText(counts: Counts): string {
  switch (counts.of) {
    case 'texts': {
      const { rows, asked, withText, cut, empty, filtered, refused, maxTokens, reasons } = counts;
      const missing = [
        [cut, `cut at maxTokens ${maxTokens}`],
        [empty, 'empty'],
        [filtered, 'filtered'],
        [refused, 'refused'],
      ] as const;
      const parts = missing.flatMap(([count, what]) => (count > 0 ? [`${number(count)} ${what}`] : []));
      const why = reasons.length === 0 ? '' : ` (${reasons.map(reasonText(reasons.length > 1)).join('; ')})`;
      // Where a row has several texts, the rest is not counted in rows.
      const of = asked === rows ? '' : `of ${number(asked)} texts, `;
      const unless = parts.length === 0 ? '' : `; ${of}${parts.join(', ')}${why}`;
      return `${number(withText)} of ${number(rows)} rows have texts${unless}`;
    }
    case 'scores':
      return counts.without === 0
        ? `${number(counts.candidates)} rationales scored`
        : `${number(counts.without)} of ${number(counts.candidates)} rationales have no score: longer than the model's context`;
    case 'verdicts': {
      const { comparisons, agree, first, second, ties, unread } = counts;
      const rest = [
        ...(ties > 0 ? [`${number(ties)} ties`] : []),
        ...(unread > 0 ? [`${number(unread)} unreadable`] : []),
      ];
      const others = rest.length === 0 ? '' : `, ${rest.join(', ')}`;
      return `${number(comparisons)} comparisons in both orders, ${number(agree)} agree; the first place preferred ${number(first)} times, the second ${number(second)}${others}`;
    }
    case 'guards': {
      const kept = Object.entries(counts.guards).map(([guard, count]) => `${number(count)} ${guard}`);
      const out = Object.values(counts.guards).reduce((sum, count) => sum + count, 0);
      const unless = kept.length === 0 ? '' : `; kept out: ${kept.join(', ')}`;
      return `${number(counts.candidates - out)} of ${number(counts.candidates)} candidates pass the guards${unless}`;
    }
    case 'rationales':
      return `${number(counts.rows - counts.without)} of ${number(counts.rows)} missing rationales were written`;
    case 'catalysts': {
      const why = Object.entries(counts.rejected).sort(([, a], [, b]) => b - a);
      const rest = why.length === 0 ? '' : `; without: ${why.map(([one, n]) => `${number(n)} ${one}`).join(', ')}`;
      const requests = `${number(counts.asked)} request${counts.asked === 1 ? '' : 's'}`;
      return `${number(counts.kept)} catalysts of ${number(counts.rows)} rows, by ${requests}${rest}`;
    }
    case 'training': {
      const { rows, leftOut, cut } = counts;
      const parts = [
        ...(leftOut > 0 ? [`${number(leftOut)} left out`] : []),
        ...(cut > 0 ? [`${number(cut)} cut`] : []),
      ];
      const unless = parts.length === 0 ? '' : `; ${parts.join(', ')}: longer than training.maxLength`;
      return `trained on ${number(rows - leftOut)} of ${number(rows)} rows${unless}`;
    }
  }
}

const reasonText =
  (many: boolean) =>
  ({ reason, count }: Reasons[number]) =>
    many ? `${reason} ${number(count)}` : reason;

const number = (count: number) => count.toLocaleString('en-US');

/** Is there anything missing that deserves a word? */
export function isWhole(counts: Counts): boolean {
  switch (counts.of) {
    case 'texts':
      return counts.texts === counts.asked && counts.cut === 0 && counts.filtered === 0;
    case 'scores':
    case 'rationales':
      return counts.without === 0;
    // A judge's bias is always shown.
    case 'verdicts':
      return counts.comparisons === 0;
    case 'guards':
      return Object.keys(counts.guards).length === 0;
    case 'catalysts':
      return Object.keys(counts.rejected).length === 0;
    case 'training':
      return counts.leftOut === 0 && counts.cut === 0;
  }
}

/** Texts that were asked for and did not come; a model that has nothing to say has not failed. */
export const failedTexts = ({ asked, texts, empty, suspect }: TextCounts): number => asked - texts - (empty - suspect);

/** The same of replies to questions: one that is cut before it says anything is a reply, and a wrong one. */
export const failedReplies = ({ suspect, filtered, refused }: TextCounts): number => suspect + filtered + refused;

/** Replies of a judge that hold no verdict, as a share of all. */
export const unreadShare = ({ comparisons, unread }: VerdictCounts): number => unread / Math.max(1, 2 * comparisons);

/** More than half were cut: what came is hardly of use. */
export const mostlyCut = ({ cut, asked }: TextCounts): boolean => 2 * cut > asked;
