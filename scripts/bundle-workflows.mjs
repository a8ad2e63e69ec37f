// After tsc. Bundles the workflows once: a worker that bundles at start takes two seconds and 200 MB more.
import { chmod, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';

const root = fileURLToPath(new URL('..', import.meta.url));
for (const [entry, name] of [
  ['index', 'workflow-bundle'],
  ['versioned', 'versioned-workflow-bundle'],
]) {
  const workflowsPath = `${root}dist/workflows/${entry}.js`;
  const { code } = await bundleWorkflowCode({ workflowsPath, logger: new DefaultLogger('WARN') });
  await writeFile(`${root}dist/${name}.js`, withoutRoot(code));
}
await chmod(`${root}dist/client/cli/main.js`, 0o755); // tsc knows nothing of programs

/** The source map names files as they lie on the machine that built it, which is no business of who installs it. */
function withoutRoot(code) {
  const at = code.lastIndexOf('base64,') + 'base64,'.length;
  const map = Buffer.from(code.slice(at), 'base64').toString('utf8');
  return code.slice(0, at) + Buffer.from(map.replaceAll(root, 'srlm/')).toString('base64');
}
