/** The starting model: found below the model roots, checked, and identified by its digest from here on. */

import { modelUnusable } from '../contracts/errors.js';
import { SpecTexts } from '../contracts/spec.js';
import { PrepareModelInput } from '../contracts/steps.js';
import { activity, type Deps } from './activity.js';
import { withProgress } from './progress.js';

export const srlmPrepareModel = ({ store }: Deps) =>
  activity('prepareModel', PrepareModelInput, ({ texts }) =>
    withProgress('prepare', 'files', 0, async () => {
      const { model } = await store.objects.readJson(texts, SpecTexts);
      if (model === null) throw modelUnusable('model', 'the spec names none.');
      return store.models.prepare(model);
    }),
  );
