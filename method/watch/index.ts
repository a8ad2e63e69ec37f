/**
 * What a round is watched by. VERSION enters the key of the step; it concerns the numbers, not limits and alarms.
 * docs/method.md explains them.
 */
import type { Decision, Grade } from '../../contracts/rows.js';
import type { Selection } from '../../contracts/spec.js';
import type { RoundWatch } from '../../contracts/watch.js';
import { groupById } from '../rows.js';
import { Choices } from './choices.js';
import { Diversity } from './diversity.js';
import { defined } from './numbers.js';

export const VERSION = 1;

/** `chunks`: all lines of a row are in one chunk. */
export async function watchChoices(
  chunks: AsyncIterable<readonly Decision[]>,
  selection: Pick<Selection, 'selector'>,
): Promise<RoundWatch> {
  const choices = new Choices(selection);
  for await (const chunk of chunks) for (const lines of groupById(chunk).values()) choices.add(lines);
  return choices.result;
}

/** A grade of a release before 0.4 has no reply. */
export async function watchReplies(grades: AsyncIterable<Pick<Grade, 'reply'>>): Promise<RoundWatch> {
  const replies = new Diversity();
  for await (const { reply } of grades) if (reply !== undefined) replies.add(reply);
  return defined({
    replyDistinct1: replies.distinct(1),
    replyDistinct2: replies.distinct(2),
    replyDistinct4: replies.distinct(4),
    replyEntropy: replies.entropy,
    replyChars: replies.meanChars,
  });
}
