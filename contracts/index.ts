/** Everything that crosses a process border: schemas, their types, and the errors a user can meet. Imports zod only. */
export * from './catalysts.js';
export * from './commands.js';
export * from './curve-settings.js';
export * from './curves.js';
export * from './deployment.js';
export * from './errors.js';
export * from './evaluation-sets.js';
export * from './refs.js';
export * from './report.js';
export * from './rows.js';
export * from './run.js';
export * from './set-steps.js';
export * from './settings.js';
export * from './spec.js';
export * from './steps.js';
export * from './training.js';
export * from './workflow-config.js';
