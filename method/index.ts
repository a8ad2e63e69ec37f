/** SRLM as pure functions: no Temporal, no disk, no network. */
export * from './formats.js';
export * from './gate.js';
export * from './grading.js';
export { guard } from './guards.js';
export * from './mixture.js';
export * from './parse.js';
export * from './prompts.js';
export * from './random.js';
export * from './seeds.js';
export * from './selectors.js';
export * from './statistics.js';
