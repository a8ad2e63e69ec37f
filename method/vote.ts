/** Majority vote over answers: which one most replies give. Answers are equal as in answers.ts. Never throws. */
import { normaliseAnswer } from './answers.js';

export interface Vote {
  /** As it was first given. */
  answer: string;
  count: number;
  /** Position of the reply that gave it first. */
  first: number;
}

/** Most votes first, ties by which came first. A reply without an answer (null, or only punctuation) has no vote. */
export function vote(answers: readonly (string | null)[]): Vote[] {
  const votes = new Map<string, Vote>();
  for (const [first, answer] of answers.entries()) {
    if (answer === null) continue;
    const form = normaliseAnswer(answer);
    if (/^["'“”‘’.,;:!?\s]*$/.test(form)) continue;
    const known = votes.get(form);
    if (known) known.count++;
    else votes.set(form, { answer: answer.trim(), count: 1, first });
  }
  // Sorting is stable, so a tie keeps the order in which the answers were first given.
  return [...votes.values()].sort((a, b) => b.count - a.count);
}
