/** Parsing: sampled texts become rationales, freed of labels and cut at the answer. Each candidate is parsed once. */
import { DatasetRef } from '../contracts/refs.js';
import { Candidate, type ParsedCandidate } from '../contracts/rows.js';
import { ParseInput } from '../contracts/steps.js';
import { parseCandidate } from '../method/parse.js';
import { activity, type Deps } from './activity.js';
import { parseInputs } from './keys.js';
import { memoize } from './memoize.js';
import { textsOf } from './texts.js';

export const srlmParse = ({ store }: Deps) =>
  activity('parse', ParseInput, async (input, progress) => {
    const { prompts } = await textsOf(store, input.texts);
    progress.expect(input.candidates.rows);
    return memoize(store, 'parse', parseInputs(input, prompts), DatasetRef, async () => {
      const parsed = await store.datasets.map(input.candidates, async (chunk) => {
        const candidates = await store.objects.readRows(chunk, Candidate);
        progress.add(candidates.length);
        return candidates.map(
          (candidate): ParsedCandidate => ({
            ...{ id: candidate.id, k: candidate.k },
            ...parseCandidate(candidate, prompts),
          }),
        );
      });
      return { holds: [{ kind: 'dataset', ref: parsed }], output: parsed };
    });
  });
