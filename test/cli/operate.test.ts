/**
 * Parked runs brought to their end with the command line alone: no space left, an endpoint that is away, a wrong setting,
 * memory that runs out; and two operators at two terminals.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { SteeredEndpoint } from '../support/endpoint.js';
import { Harness, harnessSpec, temporalAddress } from '../support/harness.js';
import { python } from '../support/python.js';
import { freePorts } from '../support/temporal-server.js';
import { Commands, srlm } from './command.js';

const PARKED = 3;
const REFUSED = 2;

/** Plays lm-eval: asks for the likelihood of one text, in the words of its client. */
const TOOL = `
import json, os, sys, urllib.request
if sys.argv[1] == "-c":
    sys.exit(print("0.4.13"))
given = lambda option: sys.argv[sys.argv.index(option) + 1]
settings = json.loads(given("--model_args"))
body = {"model": settings["model"], "prompt": [[1, 2, 3]], "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": True}
headers = {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
reply = json.load(urllib.request.urlopen(urllib.request.Request(settings["base_url"], json.dumps(body).encode(), headers)))
logprob = sum(reply["choices"][0]["logprobs"]["token_logprobs"][1:-1])
assert os.path.exists(os.path.join(settings["tokenizer"], "tokenizer.json"))
with open(os.path.join(given("--output_path"), "results_1.json"), "w") as file:
    json.dump({"results": {given("--tasks"): {"logprob,none": logprob}}}, file)
`;

/** A file system of a few megabytes for the artifacts; only root may have one. */
const disk = mkdtempSync(join(tmpdir(), 'srlm-disk-'));
const hasDisk = (() => {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'srlm-test', disk], { stdio: 'pipe' });
    return true;
  } catch {
    return false;
  }
})();

describe('with the command line alone', { timeout: 240_000 }, () => {
  let harness: Harness;
  let endpoint: SteeredEndpoint;
  let environment: Record<string, string>;
  let commands: Commands;
  const run = (...args: string[]) => commands.run(...args);
  /** Starts, follows to the end or to where it parks. */
  const start = async (id: string, spec: object) => {
    await writeFile(join(harness.folder, `${id}.yaml`), stringify(spec));
    return run('start', `${id}.yaml`, '--id', id, '--watch');
  };
  const bare = (seed: number) => harnessSpec({ rounds: 0, evaluation: 'none', seed, training: { epochs: 2 } });
  const asked = (seed: number) => ({
    ...{ engine: 'teacher', data: { path: 'questions.jsonl', fields: { instruction: 'question' } }, seed },
    sampling: { k: 1, chunkSize: 4 },
  });
  const sample = async (id: string, spec: object) => {
    await writeFile(join(harness.folder, `${id}.yaml`), stringify(spec));
    return run('sample', `${id}.yaml`, '--id', id, '--watch');
  };

  beforeAll(async () => {
    const [port] = await freePorts(1);
    endpoint = await new SteeredEndpoint(port!).open();
    harness = await Harness.open('terminal', {
      config: {
        artifactRoot: join(disk, 'store'),
        maxAttempts: 2,
        heartbeatSeconds: 20,
        engines: {
          local: { kind: 'builtin', device: 'cpu', threads: 1 },
          teacher: { kind: 'endpoint', baseUrl: endpoint.baseUrl, model: 'teacher' },
        },
      },
    });
    environment = {
      TEMPORAL_CONFIG_FILE: join(harness.folder, 'temporal.toml'),
      TEMPORAL_ADDRESS: await temporalAddress(),
      SRLM_EVALS_PYTHON: join(harness.folder, 'evals'),
    };
    commands = new Commands(harness.folder, environment);
  });

  afterAll(async () => {
    commands?.close();
    await harness?.close();
    await endpoint?.close();
    if (hasDisk) execFileSync('umount', ['-l', disk]);
    rmSync(disk, { recursive: true, force: true });
  });

  it.runIf(hasDisk)('a run that has no space left continues once there is some', async () => {
    const { bavail, bsize } = statfsSync(disk);
    const ballast = join(disk, 'ballast');
    // The check before the start asks for more than a run takes: the disk is filled once that is over.
    const running = start('full', bare(1));
    await harness.until('it has begun', () => harness.client.status('full').then(() => true));
    await writeFile(ballast, Buffer.alloc(bavail * bsize - 20_000)).catch(() => {});
    const parked = await running;
    expect(parked.code).toBe(PARKED);
    expect(parked.stderr).toMatch(/parked after .*(storage\.full|trainer\.disk-full)/);
    await rm(ballast);
    expect((await run('retry', 'full', '--why', 'there is space again')).code).toBe(0);
    expect((await run('watch', 'full')).code).toBe(0);
  });

  it('a run whose endpoint is away continues when it is back', async () => {
    await endpoint.close();
    const parked = await sample('away', asked(2));
    expect(parked.code).toBe(PARKED);
    expect(parked.stderr).toContain('sample  parked after 2 attempts: engine.unreachable');
    expect((await run('list', '--parked')).stdout).toMatch(/away +sample +parked/);
    await endpoint.open();
    expect((await run('retry', 'away')).stdout).toBe('away: sample is tried again.\n');
    expect((await run('watch', 'away')).code).toBe(0);
  });

  it('a wrong setting is corrected, and what is settled is refused', async () => {
    endpoint.refuses = 400;
    expect((await sample('wrong', asked(3))).code).toBe(PARKED);
    endpoint.refuses = 0;
    const refused = await run('retry', 'wrong', '--set', 'seed=9');
    expect([refused.code, refused.stderr]).toEqual([
      REFUSED,
      'Run "wrong" refuses "retry": seed was settled when the run began: start another run. See `srlm status wrong`. [run.refused]\n',
    ]);
    const set = await run('retry', 'wrong', '--set', 'sampling.maxTokens=64', '--why', 'shorter');
    expect(set.stdout).toBe('wrong: sample is tried again with sampling.maxTokens = 64.\n');
    expect((await run('watch', 'wrong')).code).toBe(0);
  });

  it('a training that runs out of memory with one example at a time continues with a shorter length', async () => {
    const real = await readFile(harness.python, 'utf8');
    const starved = `#!/bin/sh
case "$1" in *trainer.py)
  if grep -q '"maxLength": 2048' "$2/spec.json"; then
    echo '{"state":"failed","pid":'$$',"error":{"type":"out-of-memory","message":"Out of memory."}}' > "$2/state.json"
    exit 4
  fi;;
esac
`;
    await writeFile(harness.python, starved + real.slice(real.indexOf('\n') + 1));
    const parked = await start('memory', bare(4));
    expect(parked.code).toBe(PARKED);
    expect(parked.stderr).toContain('fineTune  parked after 1 attempt: trainer.out-of-memory');
    expect(parked.stderr).toContain('microBatchSize = 1');
    expect((await run('skip', 'memory')).stderr).toContain('fineTune cannot be skipped');
    expect((await run('retry', 'memory', '--set', 'training.maxLength=512')).code).toBe(0);
    expect((await run('watch', 'memory')).code).toBe(0);
    await writeFile(harness.python, real);
  });

  it('the model of a run answers a question, by a server of its own that ends with the answer', async () => {
    const servers = harness.processes('server.py');
    const question = 'How many legs have 2 hens?';
    const asked = await run('ask', 'memory', question, '--samples', '2', '--max-tokens', '24', '--json');
    expect([asked.code, asked.stderr]).toEqual([0, expect.stringContaining('Loading the model ...')]);
    const { model } = await harness.result('memory');
    const answered = JSON.parse(asked.stdout);
    expect(answered).toMatchObject({ question, model: { sha256: model.sha256 } });
    expect(answered.replies).toHaveLength(2);
    expect(harness.processes('server.py')).toEqual(servers);
  });

  it('an evaluation tool asks a server of the model of a round, and what it finds is filed with the run', async () => {
    const servers = harness.processes('server.py');
    await writeFile(join(harness.folder, 'evals'), `#!${python}\n${TOOL}`, { mode: 0o755 });
    const asked = await run('eval', 'memory', '--with', 'lm-eval', '--task', 'two', '--round', '0', '--json');
    expect([asked.code, asked.stderr]).toEqual([0, expect.stringContaining('lm-eval 0.4.13 is at work')]);
    const { model } = await harness.result('memory');
    const scores = [{ task: 'two', metric: 'logprob', value: expect.any(Number), stderr: null, samples: null }];
    const record = { run: 'memory', round: 0, model: model.sha256, version: '0.4.13', tasks: ['two'], scores };
    expect(JSON.parse(asked.stdout)).toMatchObject(record);
    expect(JSON.parse((await run('eval', 'memory', '--list', '--json')).stdout)).toMatchObject([record]);
    expect((await run('history', 'memory')).stdout).toContain('round 0 · lm-eval 0.4.13');
    expect(harness.processes('server.py')).toEqual(servers);
  });

  it('of two operators at two terminals one wins, and the other reads who did', async () => {
    endpoint.refuses = 401;
    expect((await sample('both', asked(5))).code).toBe(PARKED);
    endpoint.refuses = 0;
    const retry = (why: string) => srlm(harness.folder, ['retry', 'both', '--why', why], environment);
    const both = await Promise.all([retry('ana'), retry('bo')]);
    expect(both.map(({ code }) => code).sort()).toEqual([0, REFUSED]);
    expect(both.find(({ code }) => code === REFUSED)?.stderr).toMatch(/already resolved by .*(ana|bo)/);
    expect((await run('watch', 'both')).code).toBe(0);
  });
});
