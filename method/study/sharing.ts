/**
 * What the runs of a study share, before any of it is done: equal numbers for work that will have equal keys
 * (activities/keys.ts). Two runs with unequal numbers may still find something of each other, such as an evaluation of
 * the same weights; those with equal numbers do. Pure.
 */
import type { RunSettings, SpecTexts } from '../../contracts/spec.js';
import type { Shared } from '../../contracts/study.js';

export interface SharingRun {
  settings: RunSettings;
  texts: SpecTexts;
  /** Digests of the user's files. */
  files: { data: string; catalysts: string | null; evaluation: string | null };
}

export function sharingOf(runs: readonly SharingRun[]): Shared[] {
  const numbers = new Map<string, number>();
  const numberOf = (value: unknown): number => {
    const text = JSON.stringify(value);
    if (!numbers.has(text)) numbers.set(text, numbers.size);
    return numbers.get(text)!;
  };
  return runs.map(({ settings, texts, files }) => {
    const { seed, deterministic, engine, rationalizeEngine, trainer, data, catalysts, sampling, training } = settings;
    const { chunkSize, maxFailedShare: _, ...drawn } = sampling;
    const source = ({ path: __, ...how }: SpecTexts['data']) => how;
    const prepare = {
      ...{ data: files.data, how: source(texts.data), limit: data.limit ?? null, chunkSize, model: texts.model },
      ...{ rationalize: texts.prompts.rationalize, engine: rationalizeEngine ?? engine, deterministic },
    };
    const { checkpoint: ___, from: ____, ...trained } = training;
    const round0 = {
      ...{ prepare, catalysts: catalysts === 'none' ? null : { ...catalysts, file: files.catalysts } },
      ...{ prompts: texts.prompts, trained, trainer, seed, deterministic },
    };
    const round1 = { round0, drawn, engine, enrichFrom: settings.enrichFrom };
    return {
      prepare: numberOf({ prepare }),
      round0: numberOf({ round0 }),
      round1: settings.rounds === 0 ? null : numberOf({ round1 }),
    };
  });
}
