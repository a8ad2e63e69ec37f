// Bundles the workflows once, at build time: a worker that bundles at start takes two seconds and 200 MB more.
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';

const { code } = await bundleWorkflowCode({
  workflowsPath: fileURLToPath(new URL('../dist/workflows/index.js', import.meta.url)),
  logger: new DefaultLogger('WARN'),
});
await writeFile(new URL('../dist/workflow-bundle.js', import.meta.url), code);
