/**
 * What was seen while a file was read: which fields were used for what and which were not, and why rows were left out.
 * Bounded, whatever the rows hold.
 */
import type { Problem } from '../../contracts/errors.js';
import type { Uses } from './recognise.js';

const MAX_NAMES = 1000;
const MAX_REASONS = 100;
const FIRST_FAULTS = 10;
const MANY = 'other reasons';

interface Reason {
  reason: string;
  rows: number;
  /** The line of the first such row. */
  line: number | null;
}

export class Survey {
  readonly firstFaults: Problem[] = [];
  faults = 0;
  private readonly parts = new Map<string, Map<string, number>>();
  private readonly unusedIn = new Map<string, number>();
  private readonly byReason = new Map<string, Reason>();

  readonly onUses = ({ parts, unused }: Uses): void => {
    for (const [part, names] of Object.entries(parts)) {
      const counts = this.parts.get(part) ?? new Map<string, number>();
      this.parts.set(part, counts);
      for (const name of names ?? []) count(counts, name);
    }
    for (const name of unused) count(this.unusedIn, name);
  };

  /** Counts the row, which is left out. */
  readonly onFault = (problem: Problem): true => {
    this.faults++;
    if (this.firstFaults.length < FIRST_FAULTS) this.firstFaults.push(problem);
    const found = reasonOf(problem);
    const reason = this.byReason.has(found) || this.byReason.size < MAX_REASONS ? found : MANY;
    const before = this.byReason.get(reason) ?? { reason, rows: 0, line: problem.at?.line ?? null };
    this.byReason.set(reason, { ...before, rows: before.rows + 1 });
    return true;
  };

  /** Part -> the fields that it was read from, those of most rows first. */
  get uses(): Record<string, string[]> {
    return Object.fromEntries([...this.parts].map(([part, counts]) => [part, namesOf(counts)]));
  }

  /** Fields that hold something and were never read. One that some rows are read from is used. */
  get unused(): string[] {
    const used = new Set(Object.values(this.uses).flat());
    return namesOf(this.unusedIn).filter((name) => !used.has(name));
  }

  /** The reasons of most rows first. */
  get reasons(): Reason[] {
    return [...this.byReason.values()].sort((a, b) => b.rows - a.rows);
  }
}

function count(counts: Map<string, number>, name: string): void {
  if (counts.has(name) || counts.size < MAX_NAMES) counts.set(name, (counts.get(name) ?? 0) + 1);
}

const namesOf = (counts: Map<string, number>): string[] =>
  [...counts].sort(([, a], [, b]) => b - a).map(([name]) => name);

/** `output: expected text, found ""`: equal for rows that are unusable in the same way, whatever they hold. */
function reasonOf({ at, reason }: Problem): string {
  const field = (at?.field ?? '').replace(/\[\d+\]/g, '[]');
  const words = reason
    .replace(/ \(the row .*$/s, '')
    .replace(/, found (?!nothing$|nothing |null\.$|""\.$|NaN\.$|a turn )[\s\S]*$/, '')
    .replace(/^"[\s\S]*" (occurs twice).*$/, '$1')
    .replace(/^(this is not JSON).*$/s, '$1')
    .replace(/[.;:]$/, '');
  return `${field}${field ? ': ' : ''}${words}`.slice(0, 200);
}
