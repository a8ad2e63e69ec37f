/** This deployment: a laptop. See contracts/deployment.ts for every setting. */
import type { DeploymentInput } from './contracts/deployment.js';

export default {
  artifactRoot: '.srlm/store',
  workRoot: '.srlm/work',
  modelRoots: ['models', '.srlm/models'],
  engines: { local: { kind: 'builtin' } },
  trainers: { local: {} },
} satisfies DeploymentInput;
