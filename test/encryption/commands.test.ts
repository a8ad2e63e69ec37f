/**
 * Every command that touches a run, under srlm/encryption: the commands as they are built, in this process, against a
 * Temporal server and a worker with scripted activities. Then all that Temporal has is searched for what was said.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ApplicationFailure, Context } from '@temporalio/activity';
import { Client, Connection } from '@temporalio/client';
import { bundleWorkflowCode, DefaultLogger, Worker, type WorkflowBundle } from '@temporalio/worker';
import { Command } from 'commander';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { decodeExecution } from '../../audit/decode.js';
import type { WorkflowHistory } from '../../audit/events.js';
import { addAskCommand } from '../../client/cli/ask.js';
import { addExportCommand } from '../../client/cli/export.js';
import { addGcCommand } from '../../client/cli/gc.js';
import { addHistoryCommands } from '../../client/cli/history.js';
import { addOperateCommands } from '../../client/cli/operate.js';
import { addRunCommands } from '../../client/cli/runs.js';
import { addShowCommand } from '../../client/cli/show.js';
import { addStartCommands } from '../../client/cli/start.js';
import type { KeepRoundInput, ReadRoundInput, RoundTable } from '../../contracts/steps.js';
import { encryption } from '../../encryption/index.js';
import { packageRoot } from '../../processes/python.js';
import { openStore } from '../../storage/store.js';
import { Scenarios } from '../workflows/scenario.js';
import { done, failure, type Script } from '../workflows/script.js';

/** What only those with the keys may read. Paths and prompts are not in a history anyway. */
const SAID = {
  name: 'spec-name-of-mine',
  model: 'model-folder-of-mine',
  data: 'data-file-of-mine',
  prompt: 'How many legs have the hens of mine?',
  reply: 'Two legs of mine each.',
  why: 'a reason of mine',
  failure: 'what the endpoint of mine has answered',
  pending: 'what the endpoint of mine answers now and then',
  note: 'a note of a heartbeat of mine',
};

let folder: string;
let scenarios: Scenarios;
let raw: Client;
let bundle: WorkflowBundle;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'srlm-test-encryption-'));
  vi.stubEnv('SRLM_KEY_2026', randomBytes(32).toString('base64'));
  vi.stubEnv('SRLM_KEY_2025', randomBytes(32).toString('hex'));
  const dataConverter = encryption({ keys: ['SRLM_KEY_2026', 'SRLM_KEY_2025'] });
  bundle = await bundleWorkflowCode({
    workflowsPath: join(packageRoot, 'dist/workflows/index.js'),
    failureConverterPath: dataConverter.failureConverterPath!,
    logger: new DefaultLogger('ERROR'),
  });
  scenarios = await Scenarios.open({ dataConverter, workflowBundle: bundle, servesHost: true });
  const { address } = scenarios.env;
  vi.stubEnv('TEMPORAL_ADDRESS', address);
  // The client leaves it to the worker to try the model out.
  vi.stubEnv('SRLM_PYTHON', '/no/such/python');
  raw = new Client({ connection: await Connection.connect({ address }) });

  mkdirSync(join(folder, 'models', SAID.model), { recursive: true });
  for (const name of ['config.json', 'model.safetensors', 'tokenizer.json', 'chat_template.jinja'])
    file(join('models', SAID.model, name), name.endsWith('.json') ? '{}' : 'x');
  file(`${SAID.data}.jsonl`, `${JSON.stringify({ instruction: SAID.prompt, rationale: 'r', answer: '2' })}\n`);
  file('sample.yaml', `{name: ${SAID.name}, model: {path: ${SAID.model}}, data: {path: ${SAID.data}.jsonl}}`);
  file(
    'run.yaml',
    `{name: ${SAID.name}, model: {path: ${SAID.model}}, data: {path: ${SAID.data}.jsonl}, catalysts: none, selection: {selector: length}, rounds: 1}`,
  );
  const config = `artifactRoot: 'store', workRoot: 'work', taskQueue: '${scenarios.taskQueue}', singleTaskQueue: true`;
  const module = JSON.stringify(join(packageRoot, 'dist/encryption/index.js'));
  file(
    'temporal.config.ts',
    `import { encryption } from ${module};
     export default { ${config}, dataConverter: encryption({ keys: ['SRLM_KEY_2026', 'SRLM_KEY_2025'] }) };`,
  );
  file('without.config.ts', `export default { ${config} };`);
});

afterAll(async () => {
  await raw?.connection.close();
  await scenarios?.close();
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

const COMMANDS = [
  ...[addStartCommands, addRunCommands, addOperateCommands, addHistoryCommands, addAskCommand],
  addShowCommand,
  addExportCommand,
  addGcCommand,
];

const file = (name: string, content: string) => writeFileSync(join(folder, name), content);

/** A command of the command line. Returns what it wrote to stdout and stderr, and the message that ended it. */
async function srlm(words: string[], config = 'temporal.config.ts') {
  const program = new Command('srlm').option('--config <file>').option('--json').exitOverride();
  for (const add of COMMANDS) add(program);
  const written = { stdout: '', stderr: '' };
  const spies = (['stdout', 'stderr'] as const).map((stream) =>
    vi.spyOn(process[stream], 'write').mockImplementation((text) => {
      written[stream] += text;
      return true;
    }),
  );
  try {
    await program.parseAsync(['--config', join(folder, config), ...words], { from: 'user' });
    return { ...written, error: '' };
  } catch (error) {
    return { ...written, error: (error as Error).message };
  } finally {
    for (const spy of spies) spy.mockRestore();
    process.exitCode = 0;
  }
}

const start = (id: string, ...more: string[]) => srlm(['start', join(folder, 'run.yaml'), '--id', id, ...more]);

/** Scripted activities that keep the table of rounds where the client looks for it. */
function stored(): Script {
  const { objects } = openStore({ artifactRoot: join(folder, 'store'), modelRoots: [] });
  const rounds: RoundTable['rounds'] = [];
  return {
    srlmKeepRound: ({ round, preparation }: KeepRoundInput) => {
      rounds.push(round);
      return objects.putJson({ version: 2, preparation: preparation ?? [], rounds });
    },
    srlmReadRound: ({ round }: ReadRoundInput) => rounds.find((one) => one.round === round),
  };
}

it('start, status, pause, resume, set, retry --set, watch, fork, continue, promote, list, show, export, history, ask', async () => {
  let isBroken = true;
  const script: Script = {
    ...stored(),
    srlmParse: ({ candidates }: { candidates: object }) => {
      if (isBroken) throw failure('engine.refused', SAID.failure);
      return { output: candidates, meta: { key: 'ab'.repeat(32), reused: false, run: 'secret', usage: null } };
    },
  };
  const scenario = scenarios.expect({ id: 'encrypted', script });
  expect(await start('encrypted')).toMatchObject({ stdout: 'encrypted\n', error: '' });
  await scenario.parked('parse');
  const why = ['--why', SAID.why];
  const status = await srlm(['status', 'encrypted']);
  expect(status.stdout).toContain(SAID.failure);
  expect((await srlm(['list', '--parked'])).stdout).toMatch(/^encrypted +run +parked +1 of 1 +parse /m);
  expect((await srlm(['pause', 'encrypted', ...why])).stdout).toMatch(/^encrypted pauses/);
  expect((await srlm(['resume', 'encrypted', ...why])).stdout).toBe('encrypted continues.\n');
  expect((await srlm(['set', 'encrypted', 'training.epochs=7', ...why])).stdout).toContain('training.epochs = 7');
  expect((await srlm(['promote', 'encrypted', '--round', '0', ...why])).stdout).toContain('round 0 is promoted');
  isBroken = false;
  const retried = await srlm(['retry', 'encrypted', '--set', 'selection.selector=random', ...why]);
  expect(retried).toMatchObject({ stdout: expect.stringContaining('parse is tried again with'), error: '' });
  const watched = await srlm(['watch', 'encrypted']);
  expect(watched).toMatchObject({ stdout: expect.stringContaining('best   round'), error: '' });

  scenarios.expect({ id: 'forked', script });
  const forked = await srlm([
    'fork',
    'encrypted',
    '--from-round',
    '1',
    '--set',
    'selection.selector=length',
    '--id',
    'forked',
  ]);
  expect(forked).toMatchObject({ stdout: 'forked\n', error: '' });
  expect((await srlm(['watch', 'forked'])).stdout).toContain('best   round');

  scenarios.expect({ id: 'continued', script: { ...script, ...stored() } });
  const added = await srlm(['continue', 'encrypted', '--rounds', '1', '--id', 'continued']);
  expect(added).toMatchObject({ stdout: 'continued\n', error: '' });
  expect((await srlm(['watch', 'continued'])).stdout).toContain('best   round');
  const continued = JSON.parse((await srlm(['status', 'continued', '--json'])).stdout);
  expect(continued).toMatchObject({ state: 'done', lastRound: 2, forkOf: 'encrypted' });
  expect(continued.rounds.map(({ round }: { round: number }) => round)).toEqual([0, 1, 2]);

  const { stdout: history } = await srlm(['history', 'encrypted']);
  for (const text of [SAID.failure, SAID.why, 'training.epochs = 7', 'done']) expect(history).toContain(text);
  expect(history).not.toContain('not shown');
  // What the run's result names is known; the scripted training has made no model.
  expect((await srlm(['show', 'encrypted'])).error).toMatch(/objects\/.*\[artifact\.damaged\]/);
  expect((await srlm(['export', 'encrypted', '--out', join(folder, 'data')])).error).toMatch(/\[artifact\.damaged\]/);
  expect((await srlm(['ask', 'encrypted', 'Why?'])).error).toMatch(/models\/[0-9a-f]{64}.*\[artifact\.damaged\]/);
});

it('approve, reject, skip, stop', async () => {
  const scenario = scenarios.expect({ id: 'approved', script: stored() });
  await start('approved', '--set', 'approvals=[before-train, after-round]');
  await scenario.waiting('before-train', 0);
  expect((await srlm(['approve', 'approved', '--why', SAID.why])).error).toBe('');
  await scenario.waiting('after-round', 0);
  expect((await srlm(['stop', 'approved', '--after', 'round', '--why', SAID.why])).error).toBe('');
  expect((await srlm(['reject', 'approved', '--why', SAID.why])).error).toBe('');
  await scenario.failure().catch(() => {});
  expect((await srlm(['status', 'approved'])).stdout).toContain('approved · stopped');

  const skipped = scenarios.expect({
    id: 'skipped',
    script: {
      ...stored(),
      srlmParse: () => {
        throw failure('engine.refused', SAID.failure);
      },
    },
  });
  await start('skipped');
  await skipped.parked('parse');
  expect((await srlm(['skip', 'skipped', '--why', SAID.why])).stdout).toBe('skipped continues without parse.\n');
  expect((await srlm(['watch', 'skipped'])).stdout).toContain('best   round');
});

it('sample, which writes its texts to a file', async () => {
  const { objects, datasets } = openStore({ artifactRoot: join(folder, 'store'), modelRoots: [] });
  const kept = async (...rows: object[]) => datasets.put([await objects.putRows(rows)]);
  const prompts = await kept({ id: 'a', instruction: SAID.prompt });
  const candidates = await kept({ id: 'a', k: 0, text: SAID.reply, finish: 'stop', tokens: 5, seed: 1 });
  scenarios.expect({
    id: 'sampled',
    script: {
      srlmIngest: () => done({ dataset: prompts, missingRationales: 0, meanRationaleChars: 0 }),
      srlmAssemble: () => done({ dataset: candidates, counts: null }),
    },
  });
  const out = join(folder, 'texts.jsonl');
  const sampled = await srlm(['sample', join(folder, 'sample.yaml'), '--id', 'sampled', '--out', out]);
  expect(sampled.error).toBe('');
  expect(JSON.parse(readFileSync(out, 'utf8'))).toMatchObject({ id: 'a', k: 0, text: SAID.reply });
});

it('status of an activity that is tried again, abort, and the failure of what has ended', async () => {
  const scenario = scenarios.expect({
    id: 'pending',
    script: {
      srlmShard: () => {
        const beat = {
          step: 'sample',
          unit: 'rows',
          done: 3,
          total: 7,
          rate: null,
          secondsLeft: null,
          note: SAID.note,
        };
        Context.current().heartbeat(beat);
        throw ApplicationFailure.create({
          message: SAID.pending,
          type: 'engine.unreachable',
          nextRetryDelay: '1 hour',
        });
      },
    },
  });
  await start('pending');
  await scenario.called('srlmShard');
  await vi.waitFor(async () => expect((await srlm(['status', 'pending'])).stdout).toContain(SAID.pending), 20_000);
  expect(JSON.parse((await srlm(['status', 'pending', '--json'])).stdout).live).toMatchObject([
    { done: 3, total: 7, note: SAID.note, attempt: 2, lastFailure: SAID.pending },
  ]);
  expect(texts(await described('pending'))).not.toMatch(plain);
  expect((await srlm(['abort', 'pending', '--why', SAID.why])).stdout).toContain('pending ended (aborted)');
  const status = await srlm(['status', 'pending']);
  expect(status.stdout).toContain(SAID.why);
});

it('audit export has the histories as Temporal has them, which replay, and a timeline that is read', async () => {
  const out = join(folder, 'exported');
  expect(await srlm(['audit', 'export', 'encrypted', '--out', out])).toMatchObject({ error: '' });
  const run = JSON.parse(readFileSync(join(out, 'run.json'), 'utf8'));
  expect(run.spec.data.path).toContain(SAID.data);
  expect(readFileSync(join(out, 'timeline.md'), 'utf8')).toContain(SAID.failure);
  const dataConverter = encryption({ keys: ['SRLM_KEY_2026'] });
  const read: string[] = [];
  for (const name of readdirSync(join(out, 'histories'))) {
    const file: WorkflowHistory = JSON.parse(readFileSync(join(out, 'histories', name), 'utf8'));
    expect(base64Texts(file.history)).not.toMatch(plain);
    const { history } = await decodeExecution({ ...file, runId: 'any' }, scenarios.env.client.options);
    read.push(base64Texts(history));
    await Worker.runReplayHistory({ workflowBundle: bundle, dataConverter }, file.history);
  }
  const gc = await srlm(['gc', '--json']);
  expect(gc.error).toBe('');
  expect(JSON.parse(gc.stdout)).toMatchObject({ freed: false, runs: expect.arrayContaining([]) });
  // With the key, what is looked for is there to be found.
  const sought = [...Object.values(SAID), 'maxTokens', 'epochs', 'selector', 'round 1 · '];
  const found = sought.filter((text) => read.join().includes(text));
  expect(found).toEqual([SAID.name, SAID.why, SAID.failure, 'maxTokens', 'epochs', 'selector', 'round 1 · ']);
});

it('nothing of it can be read in Temporal: histories, memos, queries, lists', async () => {
  const found: string[] = [];
  for (const id of ['encrypted', 'forked', 'continued', 'approved', 'skipped', 'sampled', 'pending']) {
    found.push(texts(await described(id)));
    const query = {
      execution: { workflowId: id },
      query: { queryType: '__temporal_workflow_metadata' },
      namespace: 'default',
    };
    found.push(texts(await raw.workflowService.queryWorkflow(query)));
    for await (const { runId } of scenarios.env.client.workflow.list({ query: `WorkflowId = "${id}"` }))
      found.push(texts(await raw.workflow.getHandle(id, runId).fetchHistory()));
  }
  const { executions } = await raw.workflowService.listWorkflowExecutions({ namespace: 'default', pageSize: 100 });
  found.push(texts(executions!.filter(({ type }) => type?.name?.startsWith('srlm'))));
  for (const text of found) expect(text).not.toMatch(plain);
});

it('without the keys, list, status, history and export show the rest and say so; no command is sent in plain text', async () => {
  const REASON = /A payload cannot be decoded: Unknown encoding: binary\/encrypted\./;
  const without = (...words: string[]) => srlm(words, 'without.config.ts');
  const list = await without('list');
  expect(list.stdout).toMatch(/^encrypted +run +done +- +- /m);
  expect(list.stderr).toMatch(REASON);
  const status = await without('status', 'encrypted');
  expect([status.error, status.stdout.replace(/\s+/g, ' ')]).toEqual(['', expect.stringMatching(REASON)]);
  const history = await without('history', 'encrypted');
  expect([history.error, history.stdout]).toEqual(['', expect.stringMatching(/payloads are not shown\. A payload/)]);
  const out = join(folder, 'exported-without');
  const exported = await without('audit', 'export', 'encrypted', '--out', out);
  expect([exported.error, exported.stdout]).toEqual(['', expect.stringMatching(REASON)]);
  for (const words of [
    ['pause', 'encrypted'],
    ['fork', 'encrypted', '--from-round', '1'],
    ['continue', 'encrypted', '--rounds', '1'],
    ['ask', 'encrypted', 'Why?'],
    ['export', 'encrypted', '--out', join(folder, 'data')],
  ])
    expect((await without(...words)).error).toMatch(REASON);
  // Nothing is freed on a guess.
  expect((await without('gc')).error).toMatch(/refuses "gc": what it needs is not known \(.*Unknown encoding/);
});

/** Also settings by their names, and summaries of activities. */
const plain = new RegExp(
  [...Object.values(SAID), 'maxTokens', 'epochs', 'selector', 'round 1 · ', 'rationale'].join('|'),
);

const described = (workflowId: string) =>
  raw.workflowService.describeWorkflowExecution({ namespace: 'default', execution: { workflowId } });

/** A history as JSON, with the bytes in it as text. */
const base64Texts = (history: unknown): string =>
  JSON.stringify(history).replace(/"([A-Za-z0-9+/=]{8,})"/g, (whole, text) => whole + Buffer.from(text, 'base64'));

/** All strings of a message of Temporal, and its bytes as text. */
function texts(value: unknown): string {
  if (typeof value === 'string') return value;
  if (value instanceof Uint8Array) return Buffer.from(value).toString('latin1');
  return typeof value === 'object' && value !== null ? Object.values(value).map(texts).join('\n') : '';
}
