/** All that crosses a process border: schemas, their types, and the errors a user can meet. Imports zod only. */
export * from './artifacts.js';
export * from './deployment.js';
export * from './errors.js';
export * from './progress.js';
export * from './records.js';
export * from './settings.js';
export * from './spec.js';
export * from './steps.js';
