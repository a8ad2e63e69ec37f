/** The training mixture: {(x, r(t), y)} and the catalysts, `copies` times each, as lines for the trainer. */
import { DatasetRef, type ObjectRef } from '../contracts/refs.js';
import { Catalyst, Example } from '../contracts/rows.js';
import { MixInput } from '../contracts/steps.js';
import { answerRow, catalystRow } from '../method/mixture.js';
import { activity, type Deps } from './activity.js';
import { mixInputs } from './keys.js';
import { memoize } from './memoize.js';
import { textsOf } from './texts.js';

export const srlmMix = ({ store }: Deps) =>
  activity('mix', MixInput, async (input, progress) => {
    const { data, catalysts, copies, use, texts } = input;
    const { prompts } = await textsOf(store, texts);
    progress.expect(data.rows);
    return memoize(store, 'mix', mixInputs(input, prompts), DatasetRef, async () => {
      const chunks: ObjectRef[] = [];
      for (const chunk of await store.datasets.chunks(data)) {
        const examples = await store.objects.readRows(chunk, Example);
        chunks.push(await store.objects.putRows(examples.map((example) => answerRow(example, prompts))));
        progress.add(examples.length);
      }
      for (const chunk of catalysts ? await store.datasets.chunks(catalysts) : []) {
        const rows = await store.objects.readRows(chunk, Catalyst);
        const lines = await store.objects.putRows(rows.map((catalyst) => catalystRow(catalyst, prompts, use)));
        // The same chunk is listed again: copies cost no space.
        for (let copy = 0; copy < copies; copy++) chunks.push(lines);
      }
      const mixture = await store.datasets.put(chunks);
      return { holds: [{ kind: 'dataset', ref: mixture }], output: mixture };
    });
  });
