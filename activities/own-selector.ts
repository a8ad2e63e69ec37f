/**
 * The user's own selectors: functions of the deployment, each with a version, which is part of the key of what it decides.
 * A function sees copies of a row and of its candidates, and answers with the k of one of them, or 'incumbent'. Throws
 * selector.unknown, selector.failed: the function threw, gave no answer in time, or gave one that is none of the k.
 * A function that never yields blocks its worker; no time limit can end it.
 */
import type { Deployment } from '../contracts/deployment.js';
import { selectorFailed, selectorUnknown, show } from '../contracts/errors.js';
import { type Example, INCUMBENT } from '../contracts/rows.js';
import type { Selection } from '../contracts/spec.js';
import type { CandidateRow } from '../method/selectors/index.js';

type OwnSelector = Deployment['selectors'][string];
export type NamedSelector = OwnSelector & { name: string };

/** null: the spec asks for none. Throws selector.unknown. */
export function ownSelectorOf(
  { selector }: Pick<Selection, 'selector'>,
  { selectors }: Pick<Deployment, 'selectors'>,
): NamedSelector | null {
  if (typeof selector === 'string' || !('own' in selector)) return null;
  const found = Object.hasOwn(selectors, selector.own) ? selectors[selector.own] : undefined;
  if (!found) throw selectorUnknown(selector.own, Object.keys(selectors));
  return { ...found, name: selector.own };
}

/** The chosen k. Candidates with a guard are not shown to the function. */
export async function askOwn(
  own: NamedSelector,
  row: Pick<Example, 'id' | 'instruction' | 'answer'>,
  lines: readonly (CandidateRow & { rationale: string })[],
  seed: string,
): Promise<number> {
  const sound = lines.filter(({ k, guard }) => k !== INCUMBENT && guard === null);
  if (sound.length === 0) return INCUMBENT;
  const { id, instruction, answer } = row;
  const shown = structuredClone({
    ...{ id, instruction, answer, seed },
    incumbent: lines.find(({ k }) => k === INCUMBENT)!,
    candidates: sound,
  });
  const chosen = await inTime(own, id, async () => own.choose(shown));
  if (chosen === 'incumbent') return INCUMBENT;
  if (sound.some(({ k }) => k === chosen)) return chosen as number;
  const known = sound.map(({ k }) => k).join(', ');
  throw failed(own, id, `it returned ${show(chosen)}; expected 'incumbent' or the k of a candidate (${known})`);
}

async function inTime<T>(own: NamedSelector, id: string, work: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const why = `it gave no answer within ${own.timeoutSeconds} s`;
    timer = setTimeout(() => reject(failed(own, id, why)), 1000 * own.timeoutSeconds);
  });
  const working = work().catch((error: unknown) => {
    throw failed(own, id, `it threw ${show(String((error as Error | null)?.message ?? error))}`);
  });
  // The other one may fail later, when nobody listens.
  working.catch(() => {});
  try {
    return await Promise.race([working, late]);
  } finally {
    clearTimeout(timer);
  }
}

const failed = ({ name, version }: NamedSelector, id: string, why: string) => selectorFailed(name, version, id, why);
