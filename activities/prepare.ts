/** The starting model: found below the model roots, checked, tried out, and identified by its digest from here on. */
import { modelUnusable } from '../contracts/errors.js';
import { PrepareModelInput } from '../contracts/steps.js';
import { probeModel } from '../processes/probe-model.js';
import { pythonPath } from '../processes/python.js';
import { activity, type Deps, stopSignal } from './activity.js';
import { textsOf } from './texts.js';

export const srlmPrepareModel = ({ store, deployment }: Deps) =>
  activity('prepare', PrepareModelInput, async ({ texts }) => {
    const { model } = await textsOf(store, texts);
    if (model === null) throw modelUnusable('model', 'the spec names none.');
    const { folder } = await store.models.inspect(model);
    await probeModel(pythonPath(deployment), folder, stopSignal());
    return store.models.prepare(model);
  });
