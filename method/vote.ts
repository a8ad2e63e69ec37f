/**
 * Majority vote over answers: which one most replies give. Answers count as equal when they differ only in case,
 * white space, end punctuation, quotes around, or in how a number is written ("$1,000.0" is "1000"). Never throws.
 */

export interface Vote {
  /** As it was first given. */
  answer: string;
  count: number;
  /** Position of the reply that gave it first. */
  first: number;
}

/** Most votes first; of equals the first seen. A reply without an answer (null, or nothing but punctuation) has no vote. */
export function vote(answers: readonly (string | null)[]): Vote[] {
  const votes = new Map<string, Vote>();
  for (const [first, answer] of answers.entries()) {
    if (answer === null) continue;
    const same = sameAs(answer);
    const known = votes.get(same);
    if (known) known.count++;
    else if (same !== '') votes.set(same, { answer: answer.trim(), count: 1, first });
  }
  // Sorting is stable, so a tie stays in the order in which the answers were first seen.
  return [...votes.values()].sort((a, b) => b.count - a.count);
}

/** What equal answers have in common. */
function sameAs(answer: string): string {
  const words = answer
    .normalize('NFKC')
    .toLowerCase()
    .replace(/\u2212/g, '-')
    .split(/\s+/)
    .join(' ')
    .trim();
  const bare = words.replace(/^["'“‘]+/, '').replace(/["'”’.,;:!?]+$/, '');
  const number = /^([-+]?)[$€£]?(\d{1,3}(?:,\d{3})+|\d*)(?:\.(\d+))?$/.exec(bare);
  if (!number || !(number[2] || number[3])) return bare;
  const whole = number[2]!.replace(/,/g, '').replace(/^0+(?=\d)/, '') || '0';
  const fraction = (number[3] ?? '').replace(/0+$/, '');
  const size = fraction ? `${whole}.${fraction}` : whole;
  return number[1] === '-' && size !== '0' ? `-${size}` : size;
}
