/** The starting model: found below the model roots, checked, and identified by its digest from here on. */
import { modelUnusable } from '../contracts/errors.js';
import { PrepareModelInput } from '../contracts/steps.js';
import { activity, type Deps } from './activity.js';
import { textsOf } from './texts.js';

export const srlmPrepareModel = ({ store }: Deps) =>
  activity('prepare', PrepareModelInput, async ({ texts }) => {
    const { model } = await textsOf(store, texts);
    if (model === null) throw modelUnusable('model', 'the spec names none.');
    return store.models.prepare(model);
  });
