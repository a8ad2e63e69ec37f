import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { passedEnvironment, startDetached } from '../../processes/detached.js';
import { probeModel } from '../../processes/probe-model.js';
import { checkPython } from '../../processes/python.js';

describe('the environment of a program that srlm starts', () => {
  it('has what finds files, libraries and devices', () => {
    const given = { PATH: '/bin', HOME: '/root', CUDA_VISIBLE_DEVICES: '1', OMP_NUM_THREADS: '2', LC_ALL: 'C' };
    expect(passedEnvironment(given)).toEqual(given);
  });

  it.each([
    'OPENAI_API_KEY',
    'HF_TOKEN',
    'AWS_SECRET_ACCESS_KEY',
    'TEMPORAL_API_KEY',
    'GOOGLE_APPLICATION_CREDENTIALS',
    'CUDA_SECRET',
    'MY_ENDPOINT',
    'NODE_OPTIONS',
  ])('does not have %s', (name) => {
    expect(passedEnvironment({ [name]: 'x', PATH: '/bin' })).toEqual({ PATH: '/bin' });
  });

  it('is what such a program really gets, with what it is started with', async () => {
    const log = join(mkdtempSync(join(tmpdir(), 'srlm-environment-')), 'log.txt');
    process.env.STUB_KEY = 'of the worker';
    const { exited } = await startDetached('env', [], { log, env: { SRLM_ENGINE_TOKEN: 'given' } });
    await exited;
    delete process.env.STUB_KEY;
    const names = readFileSync(log, 'utf8')
      .split('\n')
      .map((line) => line.split('=')[0]);
    expect(names).toContain('SRLM_ENGINE_TOKEN');
    expect(names).toContain('PATH');
    expect(names).not.toContain('STUB_KEY');
  });

  it('is what Python gets, too, when it is looked at and when it tries a model out', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'srlm-environment-'));
    const python = join(folder, 'python');
    const model = join(folder, 'model');
    mkdirSync(model);
    const answers = `case $1 in -c) echo 3.11.0;; *) echo '{"ok":true}';; esac`;
    writeFileSync(python, `#!/bin/sh\nenv >> '${folder}/seen'\n${answers}\n`, { mode: 0o755 });
    process.env.STUB_KEY = 'of the worker';
    await checkPython(python);
    await probeModel(python, model);
    delete process.env.STUB_KEY;
    const seen = readFileSync(join(folder, 'seen'), 'utf8');
    expect(seen.match(/^PATH=/gm)).toHaveLength(2);
    expect(seen).not.toContain('STUB_KEY');
  });
});
