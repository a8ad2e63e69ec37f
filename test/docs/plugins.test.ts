/** The code of docs/plugins.md compiles, as the parts of one project of a user's. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../processes/python.js';

/** The files, in the order of the document, and what the text around one says that it has. */
const FILES: [string, string?][] = [
  ['worker'],
  ['deployment'],
  ['workflows'],
  ['start-workers', "import { loadDeployment, startWorkers } from 'srlm';"],
  ['client', "import { deployment } from './deployment';"],
  ['improve-and-deploy'],
  ['start', "import { improveAndDeploy } from './improve-and-deploy';"],
  ['temporal.config'],
  ['test-workflows'],
];
const GIVEN = {
  'activities.ts': 'export async function deploy(model: { sha256: string }): Promise<void> { void model; }',
  'my-interceptors.ts': `import type { ActivityInterceptorsFactory } from '@temporalio/worker';
    export const timing: ActivityInterceptorsFactory = () => ({});`,
  'given.d.ts': `declare const myClient: import('@temporalio/client').Client;
    declare const srlm: import('srlm').SrlmClient;
    declare const spec: object;
    declare const taskQueue: string;`,
  'tsconfig.json': JSON.stringify({
    compilerOptions: {
      ...{ strict: true, noEmit: true, skipLibCheck: true, types: ['node'] },
      ...{ target: 'es2022', module: 'esnext', moduleResolution: 'bundler', moduleDetection: 'force' },
    },
  }),
};

it('the code of docs/plugins.md compiles', () => {
  const text = readFileSync(join(packageRoot, 'docs/plugins.md'), 'utf8');
  const blocks = [...text.matchAll(/```ts\n(.*?)```/gs)].map(([, code]) => code!);
  expect(blocks).toHaveLength(FILES.length);
  // Within the package, whose name leads to its own build.
  mkdirSync(join(packageRoot, '.srlm'), { recursive: true });
  const folder = mkdtempSync(join(packageRoot, '.srlm/docs-'));
  try {
    for (const [i, [name, before = '']] of FILES.entries())
      writeFileSync(join(folder, `${name}.ts`), `${before}\n${blocks[i]}\nexport {};\n`);
    for (const [name, content] of Object.entries(GIVEN)) writeFileSync(join(folder, name), content);
    const tsc = join(packageRoot, 'node_modules/typescript/bin/tsc');
    expect(spawnSync(process.execPath, [tsc, '-p', folder], { encoding: 'utf8' })).toMatchObject({
      stdout: '',
      status: 0,
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}, 60_000);
