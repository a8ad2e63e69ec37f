/**
 * A folder of a user's: the package as `npm pack` makes it, installed there, and programs that use it.
 *
 * npm test: node_modules holds links to those packages of this checkout that package.json declares, and no others.
 * SRLM_SDK=1.18.0 npm test -- test/packaging: npm installs everything, with that version of Temporal's SDK, and the
 * compiler also checks the types of all packages, which takes it five times as long.
 */
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { packageRoot } from '../../processes/python.js';

export const run = promisify(execFile);

/** Null: that of this checkout. */
export const installedSdk = process.env.SRLM_SDK ?? null;

export interface Consumer {
  folder: string;
  tarball: string;
  /** `srlm/dist/index.js`: a file of an installed package. */
  installed(path: string): string;
  close(): Promise<void>;
}

export async function openConsumer(): Promise<Consumer> {
  // A link (macOS has one at /tmp) would differ from what Node resolves.
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'srlm-packaging-')));
  const installed = (path: string) => join(folder, 'node_modules', path);
  // The build is set-up's work; packing must not write what other tests are running.
  const pack = ['pack', '--ignore-scripts', '--json', '--pack-destination', folder];
  const { stdout } = await run('npm', pack, { cwd: packageRoot });
  const tarball = join(folder, JSON.parse(stdout)[0].filename);
  if (installedSdk) await install(folder, tarball, installedSdk);
  else await unpackBesideLinks(folder, tarball);
  return { folder, tarball, installed, close: () => rm(folder, { recursive: true, force: true }) };
}

async function install(folder: string, tarball: string, sdk: string): Promise<void> {
  await writeFile(join(folder, 'package.json'), '{ "private": true }');
  // What Temporal's own template names.
  const packages = ['activity', 'client', 'worker', 'workflow'].map((name) => `@temporalio/${name}@${sdk}`);
  const { devDependencies } = await ownPackage();
  packages.push(...['typescript', '@types/node'].map((name) => `${name}@${devDependencies[name]}`));
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
  await run('npm', ['install', '--prefer-offline', ...quiet, ...packages, tarball], { cwd: folder });
}

async function unpackBesideLinks(folder: string, tarball: string): Promise<void> {
  const modules = join(folder, 'node_modules');
  await mkdir(join(modules, 'srlm'), { recursive: true });
  await run('tar', ['xf', tarball, '-C', join(modules, 'srlm'), '--strip-components', '1']);
  const { dependencies, peerDependencies } = await ownPackage();
  for (const name of [...Object.keys({ ...dependencies, ...peerDependencies }), 'typescript', '@types/node']) {
    await mkdir(dirname(join(modules, name)), { recursive: true });
    await symlink(join(packageRoot, 'node_modules', name), join(modules, name));
  }
}

export async function ownPackage() {
  return JSON.parse(await readFile(join(packageRoot, 'package.json'), 'utf8'));
}

/**
 * Two programs: `esm` is examples/own-worker, `commonjs` shares all but its main file. Returns what the compiler prints.
 * `module: node16` is what Temporal's template has, and stricter than nodenext; the package.json nearest to a file says
 * of which kind it is.
 */
export async function compilePrograms({ folder, installed }: Consumer): Promise<string> {
  const example = join(packageRoot, 'examples/own-worker');
  const isSource = (path: string) => !/node_modules|dist|\.srlm/.test(relative(example, path));
  await cp(example, join(folder, 'esm'), { recursive: true, filter: isSource });
  await cp(join(import.meta.dirname, 'commonjs'), join(folder, 'commonjs'), { recursive: true });
  for (const name of ['activities.ts', 'deployment.ts', 'workflows.ts', 'prompts.jsonl']) {
    await cp(join(example, name), join(folder, 'commonjs', name));
  }
  for (const kind of ['esm', 'commonjs']) {
    await cp(join(import.meta.dirname, 'cli/temporal.config.ts'), join(folder, kind, 'config/temporal.config.ts'));
  }
  const compilerOptions = { target: 'es2022', module: 'node16', strict: true, types: ['node'] };
  const skipLibCheck = !installedSdk;
  const include = ['esm/*.ts', 'commonjs/*.ts'];
  await writeFile(
    join(folder, 'tsconfig.json'),
    JSON.stringify({ compilerOptions: { ...compilerOptions, skipLibCheck }, include }),
  );
  const compiler = run(process.execPath, [installed('typescript/bin/tsc'), '-p', folder], { cwd: folder });
  return compiler.then(
    ({ stdout }) => stdout,
    ({ stdout, stderr }) => `${stdout}${stderr}`,
  );
}

/** A second SDK in the node_modules of `folder`, with another version in its package.json files. */
export async function copySdk({ installed }: Consumer, folder: string, version: string): Promise<void> {
  const at = (name: string) => join(folder, 'node_modules', name);
  const names = ['activity', 'client', 'common', 'worker', 'workflow'].map((name) => `@temporalio/${name}`);
  const needed = new Set<string>();
  for (const name of names) {
    await cp(installed(name), at(name), { recursive: true, dereference: true });
    const manifest = JSON.parse(await readFile(join(at(name), 'package.json'), 'utf8'));
    await writeFile(join(at(name), 'package.json'), JSON.stringify({ ...manifest, version }));
    for (const dependency of Object.keys(manifest.dependencies)) needed.add(dependency);
  }
  // What the SDK needs besides itself is shared by both copies, and found as their first one finds it.
  const first = dirname(dirname(await realpath(installed('@temporalio/worker'))));
  for (const name of needed) {
    if (names.includes(name)) continue;
    await mkdir(dirname(at(name)), { recursive: true });
    await symlink(join(first, name), at(name));
  }
}
