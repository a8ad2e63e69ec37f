/**
 * Other workflows of the namespace that call themselves runs: odd ids, odd memos, odd input. `list` shows all runs, and
 * `status` of each says what it can, on lines of its own.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { renderRun } from '../../client/cli/tree.js';
import { RunReader } from '../../client/status.js';
import { resolveDeployment } from '../../config/load.js';
import type { RunStatus } from '../../contracts/run.js';
import { openStore } from '../../storage/store.js';
import { styled } from '../../text/terminal.js';
import { srlm } from '../cli/command.js';
import { temporalAddress } from '../support/harness.js';

const halt = {
  kind: 'parked',
  step: 's',
  round: 0,
  type: 't',
  message: 'm',
  attempts: 1,
  since: '',
  kept: '',
  skippable: true,
};
const whole = { phase: 'parked', round: 0, lastRound: 2, step: 's', halt: null, table: null, forkOf: null };
const MEMOS: unknown[] = [
  ...[null, 5, 'text', [], {}, true],
  ...['__proto__', 'done', 7, null, { toString: 1 }].map((phase) => ({ ...whole, phase })),
  ...[{ toString: 1 }, -1, 1e308, '0', [], 0.5].map((round) => ({ ...whole, round })),
  ...[{ constructor: null }, 'x', { ...halt, step: { toString: 1 } }, { ...halt, kind: 'constructor' }].map((odd) => ({
    ...whole,
    halt: odd,
  })),
  { ...whole, halt: { ...halt, step: '\u001b[31mred\u001b]0;title\u0007', message: 'a\nparked  run\r\u202e' } },
  { ...whole, step: '\u009b2J\u2028' },
  { ...whole, table: { sha256: '../../steps', rows: 0, bytes: 1 } },
  { ...whole, table: { sha256: '0'.repeat(64), rows: 0, bytes: 1 } },
  { ...whole, forkOf: { toString: 1 } },
  { ...whole, more: 1 },
];
const IDS = [
  ...[
    '\u001b[31mred',
    '\u001b]0;title\u0007',
    'two\nlines',
    'back\rwards',
    '\u202etfel',
    'zero\u200bwidth',
    '../../etc',
    '/',
  ],
  ...[
    '--json',
    '-h',
    '__proto__',
    'a b',
    '\u0000null',
    '{{x}}',
    '%2e%2e',
    '日本語',
    'x'.repeat(900),
    '\u{e0041}tag',
    '$(id)',
    '"',
  ],
];
// biome-ignore lint/suspicious/noControlCharactersInRegex: what no terminal may be sent
const STEERS = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200b\u2028-\u202e\u2066-\u2069]|[\u{e0000}-\u{e007f}]/u;

let client: Client;
let folder: string;
let mark: string;
const ids: string[] = [];
let address: string;
const run = (...args: string[]) => srlm(folder, args, { TEMPORAL_ADDRESS: address });

beforeAll(async () => {
  address = await temporalAddress();
  folder = mkdtempSync(join(tmpdir(), 'srlm-test-hostile-workflows-'));
  client = new Client({ connection: await Connection.connect({ address }) });
  mark = `hostile-${Math.random().toString(36).slice(2)}`;
  const start = async (workflowId: string, memo: unknown) => {
    ids.push(workflowId);
    // Nobody serves this queue: what is shown is what Temporal knows.
    await client.workflow.start('srlmRun', { workflowId, taskQueue: mark, args: [memo], memo: { srlm: memo } });
  };
  for (const [i, memo] of MEMOS.entries()) await start(`${mark}-memo-${i}`, memo);
  ids.push(`${mark}-memo-${MEMOS.length}`);
  await client.workflowService.startWorkflowExecution({
    ...{ namespace: 'default', workflowId: ids.at(-1)!, requestId: mark, workflowType: { name: 'srlmRun' } },
    taskQueue: { name: mark },
    memo: { fields: { srlm: { metadata: { encoding: Buffer.from('binary/encrypted') }, data: Buffer.from('x') } } },
  });
  for (const id of IDS) await start(`${id} ${mark}`, whole);
});

afterAll(async () => {
  for (const id of ids)
    await client?.workflow
      .getHandle(id)
      .terminate()
      .catch(() => {});
  await client?.connection.close();
  rmSync(folder, { recursive: true, force: true });
});

it('list shows each of them on one line, whatever its id and its memo', async () => {
  let ran = await run('list');
  // Temporal's list is behind by a moment.
  for (let tries = 0; ran.stdout.split(mark).length <= ids.length && tries < 20; tries++) ran = await run('list');
  expect(ran.code).toBe(0);
  // The last of them is encrypted; runs of other tests may be, too.
  const note = new RegExp(`^[^\\n]*${mark}-memo-${MEMOS.length}[^\\n]*: A payload cannot be decoded: [^\\n]*\\n$`);
  expect(ran.stderr).toMatch(note);
  const lines = ran.stdout.split('\n').filter((line) => line.includes(mark));
  expect(lines).toHaveLength(ids.length);
  expect(ran.stdout).not.toMatch(STEERS);
});

it('list --json has the ids as they are, and no character that steers a terminal', async () => {
  const ran = await run('list', '--json');
  expect(ran.stdout).not.toMatch(STEERS);
  const listed = JSON.parse(ran.stdout).map(({ runId }: { runId: string }) => runId);
  expect(ids.filter((id) => !listed.includes(id))).toEqual([]);
});

describe('status', () => {
  /** Each waits for an answer of a worker that is not there. */
  let statuses: RunStatus[];
  beforeAll(async () => {
    const deployment = resolveDeployment({ artifactRoot: 'store' }, folder);
    const reader = new RunReader(client, deployment, () => openStore(deployment));
    statuses = await Promise.all([...MEMOS, 'encrypted'].map((_, i) => reader.status(`${mark}-memo-${i}`)));
  }, 60_000);

  it.each([...MEMOS.map((memo) => JSON.stringify(memo)), 'encrypted'].map((memo, i) => [memo, i] as const))(
    'of a run whose memo is %s says what it can',
    (_memo, i) => {
      const lines = renderRun(statuses[i]!, { width: 80, color: true, now: Date.now() }).map((line) =>
        styled(line, false),
      );
      expect(lines[0]).toContain(`${mark}-memo-${i} · `);
      expect(lines.join(' ')).toContain('Nobody polls');
      for (const line of lines) expect(line).not.toMatch(STEERS);
    },
  );
});
