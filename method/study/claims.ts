/**
 * The claims of the paper, and two that keep them honest: what the data of a study say of each. A difference decides
 * where its interval lies on one side of zero and, to support a claim, where each seed points the same way.
 * docs/studies.md states the rules. Pure.
 */
import type { Claim, Difference, StudyPlan } from '../../contracts/study.js';
import { meanOf } from './intervals.js';
import { accuracyOf, difference, lastOf, roundAt, type StudyRunData } from './result.js';

type Verdict = Claim['verdict'];

/** Claims that compare the baseline with a control arm. */
const AGAINST = [
  { claim: 'catalysts', preset: 'no-catalysts', says: 'The catalysts matter' },
  { claim: 'reasoning', preset: 'format-only', says: 'It is the reasoning of the catalysts, not their form' },
  { claim: 'selection', preset: 'random', says: 'Selection beats a random choice' },
  { claim: 'loop', preset: 'no-loop', says: 'The loop adds to what the catalysts teach as answers' },
] as const;

export function claimsOf(plan: StudyPlan, runs: readonly StudyRunData[]): Claim[] {
  const of = (arm: string) => runs.filter((run) => run.arm === arm);
  const base = of(plan.baseline);
  const against = AGAINST.map(({ claim, preset, says }) => {
    const arm = plan.arms.find((one) => one.preset === preset && one.name !== plan.baseline);
    if (!arm) return made(claim, says, 'not decidable', `the study has no arm \`${preset}\``);
    const found = difference(base, of(arm.name), lastOf, lastOf, plan.confidence);
    if (!found) return made(claim, says, 'not decidable', `no seed has both ${plan.baseline} and ${arm.name} done`);
    return made(claim, says, verdictOn(found), `${plan.baseline} minus ${arm.name}, last rounds: ${points(found)}`);
  });
  const samples = made(
    'samples',
    'More samples a question help',
    'not decidable',
    'each question was answered once, without sampling',
  );
  return [roundsClaim(base, plan.confidence), ...against, samples];
}

const made = (claim: Claim['claim'], says: string, verdict: Verdict, why: string): Claim => ({
  ...{ claim, verdict },
  sentence: `${says}: ${verdict} (${why}).`,
});

export function verdictOn({ low, high, bySeed }: Difference): Verdict {
  if (low > 0 && bySeed.every(({ mean }) => mean > 0)) return 'supported';
  // Where no question differs at all, there is nothing to resample, and nothing is known of other questions.
  return high < 0 || (high === 0 && low < 0) ? 'not supported' : 'not decidable';
}

/** From round 0 to the last round the accuracy rises, and it does not surely fall below that of the best round. */
function roundsClaim(base: readonly StudyRunData[], confidence: number): Claim {
  const say = (verdict: Verdict, why: string) =>
    made('rounds', 'The accuracy rises over the rounds and stays', verdict, why);
  const done = base.filter((run) => (lastOf(run)?.round ?? 0) > 0);
  if (done.length === 0) return say('not decidable', 'no run of the baseline has done a round after round 0');
  const rise = difference(done, done, lastOf, roundAt(0), confidence);
  if (!rise) return say('not decidable', 'round 0 has no evaluation');
  const numbers = [...new Set(done.flatMap(({ rounds }) => rounds.map(({ round }) => round)))];
  const best = numbers
    .map((round) => ({ round, mean: meanOf(done.flatMap((run) => roundAt(round)(run) ?? []).map(accuracyOf)) }))
    .reduce((a, b) => (b.mean > a.mean ? b : a));
  const fall = difference(done, done, lastOf, roundAt(best.round), confidence);
  const risen = `last round minus round 0: ${points(rise)}`;
  if (fall && fall.high < 0)
    return say('not supported', `${risen}; it fell after round ${best.round}, by ${points(fall)}`);
  const verdict = verdictOn(rise);
  const isShort = done.every((run) => lastOf(run)!.round < 2);
  if (verdict === 'supported' && isShort)
    return say('not decidable', `${risen}; one round does not show that it stays`);
  return say(verdict, risen);
}

/** `+54.0 points (48.1 to 59.8; 200 questions, 3 seeds)` */
export function points({ mean, low, high, questions, bySeed }: Difference): string {
  const seeds = `${bySeed.length} seed${bySeed.length === 1 ? '' : 's'}`;
  return `${signed(mean)} points (${signed(low)} to ${signed(high)}; ${questions} questions, ${seeds})`;
}

const signed = (share: number): string => {
  const text = (100 * share).toFixed(1);
  return share > 0 ? `+${text}` : text === '-0.0' ? '0.0' : text;
};
