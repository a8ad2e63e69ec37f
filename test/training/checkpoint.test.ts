/** Which checkpoint a trainer resumes from, after a crash that has damaged some. */
import { execFileSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { pythonProgram } from '../../processes/python.js';
import { python } from '../support/python.js';

type Harm = (newest: string) => Promise<unknown>;
const zeroed = async (path: string) => writeFile(path, Buffer.alloc((await readFile(path)).length));
const edited = async (path: string, from: string, to: string) =>
  writeFile(path, (await readFile(path, 'utf8')).replace(from, to));

/** What happened, how, the step that is resumed at, and the checkpoints that are called damaged. */
const CASES: [string, Harm, number | null, string[]][] = [
  ['nothing', async () => {}, 2, []],
  ['weights that were zeroed', (at) => zeroed(`${at}/model.safetensors`), 1, ['2']],
  ['a state with a byte changed', (at) => edited(`${at}/optimizer.pt`, 'state', 'stale'), 1, ['2']],
  ['weights that were cut short', (at) => truncate(`${at}/model.safetensors`, 3), 1, []],
  ['a state that is gone', (at) => rm(`${at}/optimizer.pt`), 1, []],
  ['a marker that is empty', (at) => truncate(`${at}/complete.json`, 0), 1, []],
  ['a marker that was cut short', (at) => truncate(`${at}/complete.json`, 20), 1, []],
  ['a marker that was zeroed', (at) => zeroed(`${at}/complete.json`), 1, []],
  ['a marker that was edited', (at) => edited(`${at}/complete.json`, 'optimizer.pt', 'optimizer.px'), 1, []],
  ['no marker', (at) => rm(`${at}/complete.json`), 1, []],
  [
    'no checkpoint that is whole',
    (at) => Promise.all([zeroed(`${at}/model.safetensors`), rm(`${dirname(at)}/checkpoint-1/complete.json`)]),
    null,
    ['2'],
  ],
];

let root: string;
let found: [number | null, string[]][];

/** One process for all of them: starting Python takes longer than the rest. */
function call(code: string): unknown {
  const script = `import json, sys; sys.path.insert(0, sys.argv[1]); import jobfolder
root, spec = sys.argv[2], {"seed": 0, "checkpoint": {"keep": 2}}
${code}`;
  const out = execFileSync(python, ['-c', script, dirname(pythonProgram('jobfolder.py')), root]);
  return JSON.parse(out.toString() || 'null');
}

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'srlm-test-checkpoint-'));
  for (const step of [1, 2]) {
    const folder = join(root, `whole/checkpoint-${step}`);
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'model.safetensors'), `weights of step ${step}`);
    await writeFile(join(folder, 'optimizer.pt'), `state of step ${step}`);
  }
  call('for step in (1, 2): jobfolder.complete_checkpoint(f"{root}/whole/checkpoint-{step}", spec, step, 1.5)');
  for (const [i, [, harm]] of CASES.entries()) {
    await cp(join(root, 'whole'), join(root, String(i)), { recursive: true });
    await harm(join(root, String(i), 'checkpoint-2'));
  }
  // What else may be there: a file of a file manager, and one that a shared file system keeps while somebody has it open.
  await writeFile(join(root, '0/.DS_Store'), '');
  found = call(`answers = []
for i in range(${CASES.length}):
    damaged = []
    jobfolder.find_checkpoints(f"{root}/{i}", spec, on_incomplete=jobfolder.delete_checkpoint)
    newest = jobfolder.newest_intact(f"{root}/{i}", spec, lambda folder: damaged.append(folder[-1]))
    answers.append([newest and newest[0], damaged])
print(json.dumps(answers))`) as typeof found;
});

it('a trainer that cannot lock its folder, and one whose folder another has taken, say so and write nothing', async () => {
  const job = join(root, 'job');
  await mkdir(job);
  await writeFile(join(job, 'state.json'), '{"state": "running", "pid": 7, "host": "other"}');
  const [code, taken] = call(`import errno, fcntl, trainer
def no_locks(*_): raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock, sys.argv = no_locks, ["trainer.py", f"{root}/job"]
code = None
try: trainer.main()
except SystemExit as end: code = end.code
print(json.dumps([code, [jobfolder.is_taken(f"{root}/job", *who) for who in ((7, "other"), (7, "here"), (8, "other"))]]))`) as [
    number,
    boolean[],
  ];
  expect(code).toBe(6);
  expect(taken).toEqual([false, true, true]);
  expect(await readdir(job)).toEqual(['lock', 'state.json']);
});

afterAll(() => rm(root, { recursive: true, force: true }));

describe('a trainer resumes from the newest checkpoint that is as it was written', () => {
  it.each(CASES.map(([what, , step, damaged], i) => [what, step, damaged, i] as const))(
    'after a crash that left %s: at step %s',
    (_what, step, damaged, i) => {
      expect(found[i]).toEqual([step, damaged]);
    },
  );
});
