/** Starts the workflow of workflows.ts and prints what it returns.  Usage: npm start -- PROMPTS.jsonl */
import { SrlmClient } from 'srlm';
import { deployment } from './deployment.js';
import type { askTeacher } from './workflows.js';

const srlm = await SrlmClient.connect(deployment); // by Temporal's environment configuration
const { input } = await srlm.sampleInput({
  engine: 'teacher',
  data: { path: process.argv[2] ?? 'prompts.jsonl' },
  sampling: { k: 2, maxTokens: 256 },
});
const result = await srlm.temporal.workflow.execute<typeof askTeacher>('askTeacher', {
  workflowId: `ask-teacher-${Date.now()}`,
  taskQueue: deployment.taskQueue,
  args: [input],
});
console.log(JSON.stringify(result));
await srlm.close();
