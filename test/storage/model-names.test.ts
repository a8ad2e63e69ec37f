import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { hubName, modelsBelow } from '../../storage/model-names.js';
import { openStore } from '../../storage/store.js';

const folder = mkdtempSync(join(tmpdir(), 'srlm-test-names-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function modelAt(...parts: string[]): void {
  mkdirSync(join(folder, ...parts), { recursive: true });
  writeFileSync(join(folder, ...parts, 'config.json'), '{}');
}

it.each([
  ['Qwen/Qwen3-0.6B', 'Qwen/Qwen3-0.6B'],
  ['https://huggingface.co/Qwen/Qwen3-0.6B', 'Qwen/Qwen3-0.6B'],
  ['https://huggingface.co/Qwen/Qwen3-0.6B/tree/main', 'Qwen/Qwen3-0.6B'],
  ['hf.co/a/b', 'a/b'],
  ['hf://a/b', 'a/b'],
  ['./a/b', undefined],
  ['/a/b', undefined],
  ['../b', undefined],
  ['a/b/c', undefined],
  ['gpt2', undefined],
  ['a/b; rm -rf x', undefined],
])('%s is the name %s of the Hub', (path, repository) => {
  expect(hubName(path)?.repository).toBe(repository);
});

it('lists the models below the roots, also those of a Hugging Face cache, and ends in a loop of links', async () => {
  modelAt('roots', 'tiny');
  modelAt('roots', 'hub', 'models--a--b', 'snapshots', 'abc');
  modelAt('roots', '.hidden');
  mkdirSync(join(folder, 'roots', 'empty'));
  symlinkSync('.', join(folder, 'roots', 'loop'));
  const found = await modelsBelow([join(folder, 'roots'), join(folder, 'none')]);
  expect(found.filter((name) => !name.startsWith('loop/'))).toEqual(['hub/models--a--b/snapshots/abc', 'tiny']);
});

it('a name of the Hub is answered with how to download it, and with what is there', async () => {
  const roots = join(folder, 'more');
  for (let i = 0; i < 12; i++) modelAt('more', `m${String(i).padStart(2, '0')}`);
  const { models } = openStore({ artifactRoot: join(folder, 'store'), modelRoots: [roots] });
  await expect(models.inspect('Qwen/Qwen3-0.6B')).rejects.toThrow(
    `Below them are m00, m01, m02, m03, m04, m05, m06, m07, m08, m09 and 2 more. A model of Hugging Face's Hub is downloaded with \`hf download Qwen/Qwen3-0.6B --local-dir '${roots}/Qwen3-0.6B'\`; \`srlm doctor --fix\` has put hf into .srlm/python/bin. [model.unusable]`,
  );
  await expect(models.inspect('m99')).rejects.toThrow(/and 2 more\. \[model\.unusable\]$/);
});
