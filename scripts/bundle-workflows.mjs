/** Part of the build, after tsc: bundles the workflows, which at a worker's start would take two seconds and 200 MB. */
import { chmod, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';

const { version: sdk } = createRequire(import.meta.url)('@temporalio/workflow/package.json');
const root = fileURLToPath(new URL('..', import.meta.url));
const workflowsPath = `${root}dist/workflows/index.js`;
const { code } = await bundleWorkflowCode({ workflowsPath, logger: new DefaultLogger('WARN') });
await writeFile(`${root}dist/workflow-bundle.js`, withoutRoot(code));
// A bundle holds the SDK's own workflow code: it fits a worker of the same version only (worker/workflow-code.ts).
await writeFile(`${root}dist/workflow-bundle.json`, `${JSON.stringify({ sdk })}\n`);
await chmod(`${root}dist/client/cli/main.js`, 0o755); // tsc does not make programs executable

/** The source map has the paths of the machine that built it, which no user of the package needs. */
function withoutRoot(code) {
  const at = code.lastIndexOf('base64,') + 'base64,'.length;
  const map = Buffer.from(code.slice(at), 'base64').toString('utf8');
  return code.slice(0, at) + Buffer.from(map.replaceAll(root, 'srlm/')).toString('base64');
}
