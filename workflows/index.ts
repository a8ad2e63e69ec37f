/** All workflows: what a worker bundles, and what a user's own workflows file re-exports beside its own. */

export { srlmCatalysts } from './catalysts.js';
export { executeAsChild } from './parent.js';
export { srlmRun } from './run.js';
export { srlmSample } from './sample.js';
export { srlmStudy } from './study.js';
