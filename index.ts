/** srlm: the library. Workflows are in `srlm/workflows`, schemas and errors in `srlm/contracts`. */
export { type RunListing, SrlmClient, type StartOptions } from './client/client.js';
export { loadSpec } from './client/spec-file.js';
export type { Deployment, DeploymentInput } from './contracts/deployment.js';
export { Problem } from './contracts/errors.js';
export type { RunStatus } from './contracts/progress.js';
export { RunSpec, SampleSpec } from './contracts/spec.js';
export type { RoundSummary, RunResult, SampleRunResult } from './contracts/steps.js';
export { ArtifactStore } from './storage/store.js';
export { defineConfig, loadDeployment } from './worker/config.js';
export { SrlmPlugin } from './worker/plugin.js';
export { ROLES, type Role, startWorkers } from './worker/workers.js';
