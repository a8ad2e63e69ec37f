/**
 * What the runs of a study found instead of working it out again, and what that saved. A step is the same in two runs
 * where its name, its round and what it made are the same; what it saves is what it took the run that made it. A step
 * that no run of the study made was found from before: it is counted, and saves nothing that is known. Pure.
 */
import type { Usage } from '../../contracts/refs.js';
import type { RoundTable } from '../../contracts/steps.js';
import type { Reuse } from '../../contracts/study.js';

export interface StudyStep {
  /** Equal where two runs did, or would have done, the same work. */
  same: string;
  seconds: number;
  usage: Usage | null;
  reused: boolean;
}

/** What a step made is known of these only by what the round holds of them. */
const MADE_BY: Record<string, 'candidates' | 'decisions' | 'grades'> = {
  ...{ sample: 'candidates', parse: 'candidates', logprob: 'candidates', select: 'decisions' },
  ...{ evaluate: 'grades', grade: 'grades', gate: 'grades' },
};

/** Steps with a record of their own: those that read or write the run's own table are not among them. */
export function stepsOf({ preparation, rounds }: RoundTable): StudyStep[] {
  const data = rounds[0]?.set.dataset.sha256 ?? '';
  const before = preparation.map((cost) => ({ ...cost, same: `${cost.step} ${data}` }));
  const inRounds = rounds.flatMap((one) =>
    one.steps.map((cost) => {
      const made = { candidates: one.candidates, decisions: one.decisions, grades: one.evaluation?.grades };
      const kind = MADE_BY[cost.step.split(' ')[0]!];
      const sha256 = (kind ? made[kind]?.sha256 : undefined) ?? '';
      return { ...cost, same: `${one.round} ${cost.step} ${sha256} ${kind === 'candidates' ? '' : one.model.sha256}` };
    }),
  );
  return [...before, ...inRounds].map(({ same, seconds, usage, reused }) => ({ same, seconds, usage, reused }));
}

export function makersOf(runs: readonly (readonly StudyStep[])[]): ReadonlyMap<string, StudyStep> {
  return new Map(runs.flatMap((steps) => steps.filter(({ reused }) => !reused).map((step) => [step.same, step])));
}

export function reuseOf(steps: readonly StudyStep[], makers: ReadonlyMap<string, StudyStep>): Reuse {
  const reused = steps.filter((step) => step.reused);
  const made = reused.flatMap(({ same }) => makers.get(same) ?? []);
  return {
    steps: steps.length,
    reused: reused.length,
    made: made.length,
    savedSeconds: made.reduce((sum, { seconds }) => sum + seconds, 0),
    savedTokens: made.reduce((sum, { usage }) => sum + (usage?.tokens ?? 0), 0),
  };
}

export const sumOfReuse = (all: readonly Reuse[]): Reuse =>
  all.reduce(
    (sum, one) => ({
      steps: sum.steps + one.steps,
      reused: sum.reused + one.reused,
      made: sum.made + one.made,
      savedSeconds: sum.savedSeconds + one.savedSeconds,
      savedTokens: sum.savedTokens + one.savedTokens,
    }),
    { steps: 0, reused: 0, made: 0, savedSeconds: 0, savedTokens: 0 },
  );
