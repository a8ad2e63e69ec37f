/** What worker and client agree on: one task queue for your work and srlm's, the store, the engine. */
import type { DeploymentInput } from 'srlm';

export const deployment = {
  taskQueue: 'own-worker',
  singleTaskQueue: true,
  artifactRoot: '.srlm/store',
  engines: {
    teacher: {
      kind: 'endpoint',
      baseUrl: process.env.TEACHER_URL ?? 'http://127.0.0.1:8000/v1',
      model: process.env.TEACHER_MODEL ?? 'teacher',
    },
  },
} satisfies DeploymentInput;
