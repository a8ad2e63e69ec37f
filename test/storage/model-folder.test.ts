import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkModelFolder, findProblem, folderDigest, folderState } from '../../storage/model-folder.js';
import { makeModel, problemOf, temporaryFolder } from './support.js';

interface Case {
  name: string;
  files: Record<string, string | null>;
  links?: Record<string, string>;
  at?: string;
  ok: boolean;
  problem?: string;
}

const packageRoot = join(import.meta.dirname, '../..');
const { cases }: { cases: Case[] } = JSON.parse(
  readFileSync(join(packageRoot, 'test/fixtures/model-folders.json'), 'utf8'),
);

const folder = temporaryFolder();

async function build({ files, links }: Case, path: string): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(path, name)), { recursive: true });
    await writeFile(join(path, name), content ?? `content of ${name}`);
  }
  for (const [name, target] of Object.entries(links ?? {})) await symlink(target, join(path, name));
}

/** For each folder its digest and its problem, as the Python programs see them. Needs the standard library only. */
function inPython(folders: string[]): { digest: string; problem: string | null }[] {
  const script = `
import json, sys
sys.path.insert(0, sys.argv[1])
import folder
found = []
for path in json.load(sys.stdin):
    try:
        folder.check_model_folder(path)
        problem = None
    except folder.ModelProblem as error:
        assert path in str(error)
        problem = error.problem
    try:
        digest = folder.model_digest(path)
    except FileNotFoundError:
        digest = None
    found.append({"digest": digest, "problem": problem})
print(json.dumps(found))`;
  const python = process.env.SRLM_PYTHON ?? 'python3';
  const input = JSON.stringify(folders);
  return JSON.parse(execFileSync(python, ['-c', script, join(packageRoot, 'python')], { input, encoding: 'utf8' }));
}

describe('a model folder', () => {
  it('gets the same verdict and the same digest in TypeScript and in Python', async () => {
    for (const [i, one] of cases.entries()) await build(one, join(folder(), `case-${i}`));
    const paths = cases.map(({ at = '' }, i) => join(folder(), `case-${i}`, at));
    const python = inPython(paths);
    const found = await Promise.all(
      cases.map(async ({ name }, i) => ({
        name,
        typescript: (await findProblem(paths[i]!))?.problem ?? 'ok',
        python: python[i]!.problem ?? 'ok',
        sameDigest: (await digestOf(paths[i]!)) === python[i]!.digest,
      })),
    );
    expect(found).toEqual(
      cases.map(({ name, problem }) => ({
        name,
        typescript: problem ?? 'ok',
        python: problem ?? 'ok',
        sameDigest: true,
      })),
    );
  });

  const digestOf = async (path: string) => ((await folderState(path)) ? folderDigest(path) : null);

  it('has a digest of its content: each change of a name or a byte changes it', async () => {
    const path = await makeModel(join(folder(), 'model'));
    const digests = [await folderDigest(path)];
    await writeFile(join(path, 'model.safetensors'), 'weightz');
    digests.push(await folderDigest(path));
    await mkdir(join(path, 'sub'));
    await writeFile(join(path, 'sub/x'), '');
    digests.push(await folderDigest(path));
    expect(new Set(digests).size).toBe(3);
    // Hidden files do not count, and no link is followed to a folder or out of the model.
    await writeFile(join(path, '.hidden'), 'x');
    await symlink('sub', join(path, 'linked'));
    await symlink('/etc/hostname', join(path, 'LICENSE'));
    expect(await folderDigest(path)).toBe(digests[2]);
    // What every release has computed for these bytes.
    expect(await folderDigest(await makeModel(join(folder(), 'other')))).toBe(
      '0fe98594d16f9ec306998b705f0d7232f3ef93e7c732e93dabc398ed50792691',
    );
  });

  it('that is not usable is refused with a sentence that says why', async () => {
    const path = await makeModel(join(folder(), 'model'));
    await symlink('/etc/hostname', join(path, 'LICENSE'));
    expect((await problemOf(checkModelFolder(path))).message).toBe(
      `${path}: LICENSE is a link to something that is not a file of the model. Put a copy of the file in its place, or remove it. [model.unusable]`,
    );
    await rm(join(path, 'LICENSE'));
    await rename(join(path, 'model.safetensors'), join(path, 'pytorch_model.bin'));
    expect((await problemOf(checkModelFolder(path))).message).toBe(
      `${path}: pytorch_model.bin is a pickle, which can run code when loaded; only safetensors are read. Save the model with safe_serialization=True. [model.unusable]`,
    );
    const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'0'.repeat(64)}\nsize 269060552\n`;
    await writeFile(join(path, 'model.safetensors'), pointer);
    expect((await problemOf(checkModelFolder(path))).message).toBe(
      `${path}: model.safetensors is a Git LFS pointer, not the file itself. Fetch it with \`git lfs pull\` in that folder, or download the model again. [model.unusable]`,
    );
    await writeFile(join(path, 'adapter_config.json'), '{}');
    expect((await problemOf(checkModelFolder(path))).message).toBe(
      `${path}: it holds a LoRA adapter (adapter_config.json), not a whole model. Merge it into its model with peft's merge_and_unload(), and save that. [model.unusable]`,
    );
    expect((await problemOf(checkModelFolder(join(path, 'none')))).message).toBe(
      `${path}/none: there is no such model folder. [model.unusable]`,
    );
  });
});
