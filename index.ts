/** srlm: the library. Workflows are in `srlm/workflows`, schemas and errors in `srlm/contracts`. */
export { SrlmClient, type StartOptions } from './client/client.js';
export { loadSpec } from './client/spec-file.js';
export type { RunListing } from './client/status.js';
export { defineConfig, loadDeployment } from './config/load.js';
export { type CatalystInput, type CatalystResult, CatalystSpec } from './contracts/catalysts.js';
export type { Deployment, DeploymentInput } from './contracts/deployment.js';
export { Problem } from './contracts/errors.js';
export type { RunInput, RunResult, RunStatus, SampleInput, SampleResult } from './contracts/run.js';
export { RunSpec, SampleSpec } from './contracts/spec.js';
export type { RoundSummary } from './contracts/steps.js';
export { openStore, type Store } from './storage/store.js';
export { SrlmCpuPlugin, SrlmGpuPlugin, SrlmPlugin, SrlmWorkflowPlugin } from './worker/plugins.js';
export { ROLES, type Role, type RunningWorkers, startWorkers } from './worker/workers.js';
