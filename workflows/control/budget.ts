/** A run's budget against what it has used: which bound is used up, and from 80 % on a warning. */
import type { Usage } from '../../contracts/refs.js';
import { addUsage, shares, usedUp } from '../../method/budget.js';
import type { RunControl } from './control.js';

const NEARLY_USED_UP = ': more than 80 % is used up.';

/** Since the run began. */
export const hoursOf = ({ state }: RunControl): number => (Date.now() - Date.parse(state.startedAt)) / 3_600_000;

/** The bound that is used up, such as `budget.tokens`, if one is. `budget`: default the one that holds now. */
export const usedUpBound = (run: RunControl, budget = run.settings.budget): string | null =>
  usedUp(budget, run.state.usage, hoursOf(run));

export function spend(run: RunControl, usage: Usage): void {
  run.state.usage = addUsage(run.state.usage, usage);
  warnOfBudget(run);
}

/** A bound that was raised is no longer warned of. */
export function warnOfBudget(run: RunControl): void {
  const { state, settings } = run;
  const all = Object.entries(shares(settings.budget, state.usage, hoursOf(run)));
  const nearly = all.filter(([, share]) => share >= 0.8).map(([bound]) => `${bound}${NEARLY_USED_UP}`);
  state.warnings = [...state.warnings.filter((one) => !one.endsWith(NEARLY_USED_UP)), ...nearly];
}
