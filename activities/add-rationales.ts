/**
 * First rationales that the model wrote join the examples that had none. One that could not be written stays empty: the
 * example then teaches the plain answer.
 */
import { Candidate, Example } from '../contracts/rows.js';
import { AddRationalesInput, AddRationalesOutput } from '../contracts/steps.js';
import { parseRationale } from '../method/parse.js';
import { activity, type Deps } from './activity.js';
import { addRationalesInputs } from './keys.js';
import { memoize } from './memoize.js';
import { textsOf } from './texts.js';

export const srlmAddRationales = ({ store }: Deps) =>
  activity('addRationales', AddRationalesInput, async (input, progress) => {
    const { prompts } = await textsOf(store, input.texts);
    progress.expect(input.data.rows);
    return memoize(store, 'addRationales', addRationalesInputs(input, prompts), AddRationalesOutput, async () => {
      const writtenChunks = await store.datasets.chunks(input.candidates);
      let chars = 0;
      let missing = 0;
      let without = 0;
      const dataset = await store.datasets.map(input.data, async (chunk, i) => {
        const written = new Map<string, string>();
        for (const { id, text } of await store.objects.readRows(writtenChunks[i]!, Candidate))
          written.set(id, parseRationale(text, prompts));
        const examples = (await store.objects.readRows(chunk, Example)).map((example) => {
          const original = example.original ?? written.get(example.id) ?? '';
          if (example.original === null) missing++;
          if (example.original === null && original === '') without++;
          chars += original.length;
          return { ...example, original, rationale: original };
        });
        progress.add(examples.length);
        return examples;
      });
      const { rows } = input.data;
      const set = { dataset, rows, enriched: 0, meanRationaleChars: chars / Math.max(1, rows) };
      const output: AddRationalesOutput = { set, counts: { of: 'rationales', rows: missing, without } };
      return { holds: [{ kind: 'dataset', ref: dataset }], output };
    });
  });
