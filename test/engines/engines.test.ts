/** What an engine says about itself, whatever its kind; and how the hardware of a host is shared. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Deployment, type DeploymentInput } from '../../contracts/deployment.js';
import type { ModelRef } from '../../contracts/refs.js';
import { requireCapability } from '../../engines/engine.js';
import { Hardware, type WeightServer } from '../../engines/hardware.js';
import { EngineHost } from '../../engines/index.js';
import { baseUrlOf, closeServers, serve } from './serve.js';

const kills = vi.hoisted(() => ({ counts: [] as number[] }));
vi.mock('../../processes/detached.js', async (original) => ({
  ...(await original<typeof import('../../processes/detached.js')>()),
  endedForMemory: async () => kills.counts.shift() ?? 0,
}));

afterEach(closeServers);

const teacher = { kind: 'endpoint', baseUrl: 'http://teacher.example/v1', model: 'large' } as const;
const host = (engines: DeploymentInput['engines']) => new EngineHost(Deployment.parse({ engines }), null);
const engineOf = (config: NonNullable<DeploymentInput['engines']>[string]) => host({ one: config }).engine('one');
const model: ModelRef = { sha256: 'a'.repeat(64), bytes: 1, path: null };
const never = new AbortController().signal;

describe('an engine', () => {
  it('states what it can do', () => {
    expect(engineOf({ kind: 'builtin' }).capabilities).toEqual({ loadsWeights: true, promptLogprobs: true });
    expect(engineOf(teacher).capabilities).toEqual({ loadsWeights: false, promptLogprobs: false });
  });

  it('refuses by the capability it lacks', () => {
    const check = () => requireCapability(engineOf(teacher), 'promptLogprobs', 'selection.selector: off-policy');
    expect(check).toThrow(
      'Engine "one" cannot give log-probabilities of a prompt, which selection.selector: off-policy needs. ' +
        'Choose another engine in the spec or in temporal.config.ts. [engine.lacks]',
    );
    expect(() => requireCapability(engineOf({ kind: 'builtin' }), 'promptLogprobs', 'it')).not.toThrow();
  });

  it('is identified by the weights it loads, or by address, name and revision', () => {
    expect(engineOf({ kind: 'builtin' }).identity(model)).toBe(model.sha256);
    expect(() => engineOf({ kind: 'builtin' }).identity(null)).toThrow('engine.lacks');
    const hosted = engineOf({ ...teacher, revision: '2' });
    expect(hosted.identity(null)).toBe('http://teacher.example/v1 large 2');
    expect(hosted.identity(model)).toBe(hosted.identity(null));
  });

  it('has a price where the deployment sets one', () => {
    expect(engineOf({ kind: 'builtin' }).money(1000, 1000)).toBe(0);
    expect(engineOf(teacher).money(1000, 1000)).toBe(0);
    const priced = engineOf({ ...teacher, price: { inputPerMillion: 2, outputPerMillion: 10 } });
    expect(priced.money(1_000_000, 500_000)).toBe(7);
  });

  it.each([
    [
      'exit 6',
      [],
      'servers/one: its file system has no file locks, without which two processes could write here at once. Mount it with locks, or move workRoot in temporal.config.ts to another file system; then `srlm retry`. [storage.no-locks]',
    ],
    ['kill -9 $$', [4, 4], 'Engine "one" does not answer (it was killed).'],
    ['kill -9 $$', [4, 5], 'Memory ran out, and the system ended the model server of engine "one".'],
  ])(
    'whose server ends with "%s" while the kernel counts %j ended for memory says why',
    async (end, counts, sentence) => {
      kills.counts = [...counts];
      const work = mkdtempSync(join(tmpdir(), 'srlm-test-engine-'));
      const python = join(work, 'python');
      writeFileSync(python, `#!/bin/sh\n[ "$1" = -c ] && echo 3.12.0 && exit\n${end}\n`, { mode: 0o755 });
      const deployment = Deployment.parse({ workRoot: work, python, engines: { one: { kind: 'builtin' } } });
      const engine = new EngineHost(deployment, {
        jobs: { root: work },
        models: { local: async () => work },
      } as never).engine('one');
      await expect(engine.withClient(model, false, never, async () => {})).rejects.toThrow(sentence);
      rmSync(work, { recursive: true });
    },
  );

  it('is unknown by any other name', () => {
    expect(() => host({ local: { kind: 'builtin' }, teacher }).engine('gpt')).toThrow(
      'There is no engine "gpt" in temporal.config.ts; it has local, teacher.',
    );
  });

  it('without a model of its own needs one to answer', async () => {
    const work = engineOf({ kind: 'builtin' }).withClient(null, false, never, async () => 0);
    await expect(work).rejects.toMatchObject({ type: 'engine.lacks' });
  });

  it('without weights to load cannot answer privately', async () => {
    const work = engineOf(teacher).withPrivateClient({ folder: '/m', sha256: model.sha256 }, never, async () => 0);
    await expect(work).rejects.toMatchObject({ type: 'engine.lacks' });
  });
});

describe('an endpoint', () => {
  const KEY = 'SRLM_TEST_KEY';
  afterEach(() => {
    delete process.env[KEY];
  });

  it('needs its key', async () => {
    const engine = engineOf({ ...teacher, apiKeyEnv: KEY });
    await expect(engine.withClient(null, false, never, async () => 0)).rejects.toMatchObject({
      type: 'engine.key-missing',
    });
    expect(await engine.check()).toEqual({
      ok: false,
      text: `${KEY} is not set`,
      hint: 'Set it where the GPU worker runs.',
    });
  });

  it('is checked by its list of models, with its key', async () => {
    process.env[KEY] = 'secret';
    const asked: unknown[] = [];
    const url = await serve((request, response) => {
      asked.push([request.method, request.url, request.headers.authorization]);
      response.writeHead(asked.length === 1 ? 200 : 401).end('{}');
    });
    const baseUrl = baseUrlOf(url);
    const engine = engineOf({ ...teacher, baseUrl, apiKeyEnv: KEY });
    expect(await engine.check()).toEqual({ ok: true, text: `${baseUrl} answers`, hint: '' });
    expect(await engine.check()).toMatchObject({ ok: false, text: `${baseUrl} refuses the key (401)` });
    expect(asked).toEqual([
      ['GET', '/v1/models', 'Bearer secret'],
      ['GET', '/v1/models', 'Bearer secret'],
    ]);
  });

  it('that nobody answers at is a problem', async () => {
    const url = await serve(() => {});
    closeServers();
    const baseUrl = baseUrlOf(url);
    expect(await engineOf({ ...teacher, baseUrl }).check()).toEqual({
      ok: false,
      text: `${baseUrl} does not answer (ECONNREFUSED)`,
      hint: 'Start it, or fix baseUrl in temporal.config.ts.',
    });
  });
});

describe('the hardware of a host', () => {
  const log: string[] = [];
  const server = (name: string): WeightServer => ({
    unload: async () => void log.push(`unload ${name}`),
    stop: async () => {},
  });
  const [a, b] = [server('a'), server('b')];
  /** Those at work. */
  let trainers: string[] = [];
  const hardware = () => {
    log.length = 0;
    trainers = [];
    return new Hardware(
      () => [a, b],
      async () => trainers,
    );
  };
  const load = (name: string) => async () => {
    log.push(`load ${name}`);
    return name;
  };
  const work = async (name: string) => `work ${name}`;

  it('is loaded once for all who want the same model, after the other servers gave their memory back', async () => {
    const shared = hardware();
    const use = () => shared.withServer('m1', a, load('m1'), never, work);
    expect(await Promise.all([use(), use(), use()])).toEqual(['work m1', 'work m1', 'work m1']);
    await shared.withServer('m2', b, load('m2'), never, work);
    expect(log).toEqual(['unload b', 'load m1', 'unload a', 'load m2']);
  });

  it('is loaded again after work that failed, for its server may be dead', async () => {
    const shared = hardware();
    const failing = shared.withServer('m', a, load('m'), never, async () => {
      throw new Error('no answer');
    });
    await expect(failing).rejects.toThrow('no answer');
    await shared.withServer('m', a, load('m'), never, work);
    expect(log.filter((line) => line === 'load m')).toHaveLength(2);
  });

  it('holds no weights while a trainer has it', async () => {
    const shared = hardware();
    await shared.withServer('m', a, load('m'), never, work);
    await shared.withTrainer('job', never, async () => void log.push('train'));
    await shared.withServer('m', a, load('m'), never, work);
    expect(log).toEqual(['unload b', 'load m', 'unload a', 'unload b', 'train', 'unload b', 'load m']);
  });

  it('is kept for a trainer whose worker died until its run returns to it, whoever asked first', async () => {
    const shared = hardware();
    trainers = ['orphan'];
    const other = shared.withTrainer('other', never, async () => void log.push('other'));
    const shard = shared.withServer('m', a, load('m'), never, work);
    await shared.withTrainer('orphan', never, async () => {
      log.push('orphan');
      trainers = [];
    });
    await Promise.all([other, shard]);
    expect(log.slice(0, 3)).toEqual(['unload a', 'unload b', 'orphan']);
    expect(log).toContain('other');
    expect(log).toContain('load m');
  });

  it('is loaded by the next caller when the one who was loading is cancelled', async () => {
    const shared = hardware();
    const cancelled = new AbortController();
    const slow = async () => {
      log.push('load');
      await sleep(50);
      cancelled.signal.throwIfAborted();
      return 'm';
    };
    const first = shared.withServer('m', a, slow, cancelled.signal, work);
    const second = shared.withServer('m', a, load('m'), never, work);
    await sleep(10);
    cancelled.abort(new Error('the run was cancelled'));
    await expect(first).rejects.toThrow('the run was cancelled');
    expect(await second).toBe('work m');
  });
});
