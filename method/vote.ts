/** Majority vote over answers: which one most replies give. Answers are equal as in answers.ts. Never throws. */
import { normaliseAnswer } from './answers.js';

export interface Vote {
  /** As it was first given. */
  answer: string;
  count: number;
  /** Position of the reply that gave it first. */
  first: number;
}

/** Equal for answers that are the same vote. null: none, since there is no answer, or only punctuation. */
export function voteOf(answer: string | null): string | null {
  if (answer === null) return null;
  const form = normaliseAnswer(answer);
  return /^["'“”‘’.,;:!?\s]*$/.test(form) ? null : form;
}

/** Most votes first, ties by which came first. A reply without an answer (null, or only punctuation) has no vote. */
export function vote(answers: readonly (string | null)[]): Vote[] {
  const votes = new Map<string, Vote>();
  for (const [first, answer] of answers.entries()) {
    const form = voteOf(answer);
    if (answer === null || form === null) continue;
    const known = votes.get(form);
    if (known) known.count++;
    else votes.set(form, { answer: answer.trim(), count: 1, first });
  }
  // Sorting is stable, so a tie keeps the order in which the answers were first given.
  return [...votes.values()].sort((a, b) => b.count - a.count);
}
