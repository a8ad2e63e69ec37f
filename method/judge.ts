/**
 * An LLM judge [ours]: each candidate against the incumbent, by a model that need not give log-probabilities. A judge
 * prefers a place (arXiv 2306.05685), so each pair is shown in both orders; how often a place wins is counted. What is
 * compared are texts of a model, which may try to talk the judge round: a verdict is one letter and nothing else.
 * Pure; never throws.
 */
import type { VerdictCounts } from '../contracts/counts.js';
import { type Example, encodable, type Guard, INCUMBENT, MAX_VERDICT_CHARS, type Verdict } from '../contracts/rows.js';
import type { PromptTemplates } from '../contracts/spec.js';
import { fill } from './prompts.js';

/** Enters the keys of verdicts. */
export const VERSION = 1;

/** Which of two texts is better, by their places. */
export type Preference = 'first' | 'second' | 'tie';

export function judgePrompt(
  templates: PromptTemplates,
  { instruction, answer }: Pick<Example, 'instruction' | 'answer'>,
  [first, second]: readonly [string, string],
): string {
  return fill(templates.judge, { instruction, answer, first: first || '(none)', second: second || '(none)' });
}

const LETTERS = { a: 'first', b: 'second', t: 'tie' } as const;

/**
 * The letter that a reply is, or begins or ends with: `B`, `**A**`, `Answer: T`, `(b) is better`, `... so B.` null: it has
 * none, or begins with one and ends with another.
 */
export function readPreference(reply: string): Preference | null {
  const text = reply.replace(/[*_`"'()[\]{}<>]/g, ' ').trim();
  if (/^(?:it is |it's )?(?:a )?tie\b/i.test(text)) return 'tie';
  // "A good point ..." begins with an article.
  const begin = /^(?:(?:verdict|answer|better|choice)\s*:\s*)?([abt])(?=$|[.,;!\n]|\s+is\b|\s+wins\b)/i.exec(text)?.[1];
  const end = /(?:^|[\s:])([ABT])[\s.!]*$/.exec(text)?.[1];
  const found = [begin, end].flatMap((one) => (one ? [LETTERS[one.toLowerCase() as keyof typeof LETTERS]] : []));
  return found.length > 0 && found.every((one) => one === found[0]) ? found[0]! : null;
}

/** Sound candidates that differ from the incumbent and from each other: each text, and the first k that has it. */
export function compared(
  incumbent: string,
  candidates_K: readonly { k: number; rationale: string; guard: Guard | null }[],
): { rationale: string; ks: number[] }[] {
  const texts = new Map<string, number[]>();
  for (const { k, rationale, guard } of candidates_K) {
    if (guard !== null || rationale === incumbent) continue;
    const known = texts.get(rationale);
    if (known) known.push(k);
    else texts.set(rationale, [k]);
  }
  return [...texts].map(([rationale, ks]) => ({ rationale, ks }));
}

/**
 * What came of one pair. `replies`: with the candidate first, and second; empty where no text came. `suspect`: how many of
 * them are empty because the endpoint misbehaved.
 */
export interface Judged {
  ks: readonly number[];
  replies: readonly [string, string];
  suspect?: number;
}

/** The rows of an example and what they count. A pair of which one reply has no verdict has no row. */
export function verdictsOf(id: string, pairs: readonly Judged[]): { rows: Verdict[]; counts: VerdictCounts } {
  const counts = noVerdicts();
  const rows: Verdict[] = pairs.length === 0 ? [] : [{ id, k: INCUMBENT, score: 0.5, replies: [] }];
  for (const { ks, replies, suspect = 0 } of pairs) {
    const preferences = replies.map(readPreference);
    counts.comparisons++;
    counts.suspect += suspect;
    for (const preference of preferences) {
      if (preference === null) counts.unread++;
      else if (preference === 'tie') counts.ties++;
      else counts[preference]++;
    }
    const [first, second] = preferences.map((preference, i) => shareOf(preference, i === 0 ? 'first' : 'second'));
    if (first === null || second === null || first === undefined || second === undefined) continue;
    if (first === second) counts.agree++;
    const kept = replies.map((reply) => encodable(reply.trim().slice(-MAX_VERDICT_CHARS)));
    for (const k of ks) rows.push({ id, k, score: (first + second) / 2, replies: kept });
  }
  return { rows, counts };
}

/** What the candidate gets of a verdict. `place`: where it stood. */
function shareOf(preference: Preference | null | undefined, place: 'first' | 'second'): number | null {
  if (preference === null || preference === undefined) return null;
  if (preference === 'tie') return 0.5;
  return preference === place ? 1 : 0;
}

export const noVerdicts = (): VerdictCounts => ({
  ...{ of: 'verdicts', comparisons: 0, agree: 0, first: 0, second: 0, ties: 0, unread: 0, suspect: 0 },
});
