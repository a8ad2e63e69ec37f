import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { passedEnvironment, startDetached } from '../../processes/detached.js';

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
});
