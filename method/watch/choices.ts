/**
 * What a round did with its rows: its candidates, which of them were excluded or chosen, how much the selector finds them
 * better, and how far the model that wrote them is from the starting model. A reducer over decisions, row by row, of
 * bounded memory. Pure.
 */
import { type Decision, GUARDS, type Guard, INCUMBENT } from '../../contracts/rows.js';
import type { Selection } from '../../contracts/spec.js';
import type { MetricName, RoundWatch } from '../../contracts/watch.js';
import { comparedValue } from '../selectors/index.js';
import { Diversity } from './diversity.js';
import { defined, share } from './numbers.js';

const GUARD_METRICS: Record<Guard, MetricName> = {
  empty: 'empty',
  truncated: 'truncated',
  repetition: 'repetition',
  unchanged: 'unchanged',
  'copied-prompt': 'copiedPrompt',
  'pasted-answer': 'pastedAnswer',
};

/** Fewer replaced rationales may all be shorter by chance. */
const LEAST_CHANGED = 20;

export class Choices {
  private readonly diversity = new Diversity();
  private readonly guards = new Map<Guard, number>();
  private candidates = 0;
  private readonly later = { all: 0, repeats: 0 };
  private rows = 0;
  private changed = 0;
  private shorter = 0;
  private chosenChars = 0;
  private readonly gain = { rows: 0, sum: 0 };
  private readonly tokens = { all: 0, apart: 0, sum: 0 };

  constructor(private readonly selection: Pick<Selection, 'selector'>) {}

  /** All lines of one row: its incumbent and its candidates. */
  add(lines: readonly Decision[]): void {
    const incumbent = lines.find(({ k }) => k === INCUMBENT);
    if (!incumbent) return;
    this.rows++;
    const candidates = lines.filter(({ k }) => k !== INCUMBENT);
    for (const { rationale, guard } of candidates) {
      this.diversity.add(rationale);
      if (guard !== null) this.guards.set(guard, (this.guards.get(guard) ?? 0) + 1);
    }
    this.candidates += candidates.length;
    if (candidates.length > 0) {
      this.later.all += candidates.length - 1;
      this.later.repeats += candidates.length - new Set(candidates.map(({ rationale }) => rationale)).size;
    }
    this.choose(incumbent, lines.find(({ chosen }) => chosen) ?? incumbent);
    this.compare(incumbent);
  }

  private choose(incumbent: Decision, chosen: Decision): void {
    if (chosen !== incumbent) {
      this.changed++;
      this.chosenChars += chosen.chars;
      if (chosen.chars < incumbent.chars) this.shorter++;
    }
    const [before, now] = [incumbent, chosen].map((line) => comparedValue(line, this.selection.selector));
    if (before == null || now == null) return;
    this.gain.rows++;
    this.gain.sum += now - before;
  }

  /** The answer alone is the same text in all rounds. */
  private compare({ withoutRationale = {} }: Decision): void {
    const { 'on-policy': current_T = [], 'off-policy': reference_T = [] } = withoutRationale;
    if (current_T.length !== reference_T.length) return;
    for (const [t, logprob] of current_T.entries()) {
      const apart = logprob - reference_T[t]!;
      this.tokens.all++;
      this.tokens.sum += apart;
      this.tokens.apart += Math.abs(apart);
    }
  }

  get result(): RoundWatch {
    const { diversity, candidates, rows, changed } = this;
    const ofCandidates = (count: number) => share(count, candidates);
    return defined({
      distinct1: diversity.distinct(1),
      distinct2: diversity.distinct(2),
      distinct4: diversity.distinct(4),
      entropy: diversity.entropy,
      repeats: share(this.later.repeats, this.later.all),
      candidateChars: diversity.meanChars,
      chosenChars: share(this.chosenChars, changed),
      // A few rows say nothing.
      shorter: changed < LEAST_CHANGED ? null : share(this.shorter, changed),
      changed: share(changed, rows),
      ownGain: share(this.gain.sum, this.gain.rows),
      guarded: ofCandidates([...this.guards.values()].reduce((sum, one) => sum + one, 0)),
      ...Object.fromEntries(GUARDS.map((guard) => [GUARD_METRICS[guard], ofCandidates(this.guards.get(guard) ?? 0)])),
      distance: share(this.tokens.apart, this.tokens.all),
      drift: share(this.tokens.sum, this.tokens.all),
    });
  }
}
