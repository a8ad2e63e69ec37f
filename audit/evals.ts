/**
 * Results of other people's evaluation tools, filed beside the export of their run:
 *   audit/RUN/EXECUTION/evals/TIME-TOOL/eval.json  an EvalRecord, written last
 *   .../results/                                   what the tool wrote
 * A folder without eval.json was cut short, and does not count.
 */
import { cp, mkdir, readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { z } from 'zod';
import { Sha256 } from '../contracts/refs.js';
import { nullIfMissing, OWNER_ONLY, readJson, sha256File, writeWhole } from '../storage/files.js';
import { duration, visibleJson } from '../text/text.js';

const EVALS = 'evals';
const RESULTS = 'results';
const RECORD = 'eval.json';

export const EvalScore = z.strictObject({
  task: z.string(),
  metric: z.string(),
  value: z.number(),
  stderr: z.number().nullable(),
  /** How many rows it rests on; null: the tool does not say. */
  samples: z.int().nullable(),
});
export type EvalScore = z.infer<typeof EvalScore>;

export const EvalRecord = z.strictObject({
  run: z.string(),
  /** null: none of its rounds has this model any more. */
  round: z.int().nullable(),
  /** The digest of the weights that were evaluated. */
  model: Sha256,
  tool: z.string(),
  version: z.string(),
  tasks: z.array(z.string()),
  limit: z.int().nullable(),
  /** What else the tool was given. */
  args: z.array(z.string()),
  startedAt: z.string(),
  endedAt: z.string(),
  by: z.string(),
  scores: z.array(EvalScore),
  /** Paths below `results`. */
  files: z.array(z.strictObject({ path: z.string(), sha256: Sha256 })),
});
export type EvalRecord = z.infer<typeof EvalRecord>;

/** Makes the folder in which the tool then writes its results. `exported`: the folder of the run's export. */
export async function beginEval(exported: string, startedAt: Date, tool: string) {
  const folder = join(exported, EVALS, `${startedAt.toISOString().replace(/[-:]/g, '')}-${tool}`);
  const results = join(folder, RESULTS);
  await mkdir(results, { recursive: true, mode: OWNER_ONLY });
  return { folder, results };
}

export async function fileEval(folder: string, record: Omit<EvalRecord, 'files'>): Promise<EvalRecord> {
  const results = join(folder, RESULTS);
  const found = await readdir(results, { recursive: true, withFileTypes: true });
  const paths = found.filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name));
  const files = await Promise.all(
    paths.sort().map(async (path) => ({ path: relative(results, path), sha256: await sha256File(path) })),
  );
  const whole = { ...record, files };
  await writeWhole(join(folder, RECORD), `${visibleJson(whole, 2)}\n`, folder);
  return whole;
}

/** Oldest first. Empty where nothing was filed. */
export async function readEvals(exported: string): Promise<EvalRecord[]> {
  const names = (await readdir(join(exported, EVALS)).catch(nullIfMissing)) ?? [];
  const records = await Promise.all(
    names.sort().map((name) => readJson(join(exported, EVALS, name, RECORD), EvalRecord)),
  );
  return records.filter((one) => one !== null);
}

/** An export to another folder takes them along. */
export async function copyEvals(exported: string, to: string): Promise<void> {
  if (exported === to) return;
  await cp(join(exported, EVALS), join(to, EVALS), { recursive: true }).catch(nullIfMissing);
}

export function renderEvals(records: readonly EvalRecord[]): string[] {
  return records.flatMap(({ startedAt, endedAt, by, round, model, tool, version, limit, args, scores }) => {
    const what = [tool, version, ...(limit === null ? [] : [`--limit ${limit}`]), ...args].join(' ');
    const seconds = (Date.parse(endedAt) - Date.parse(startedAt)) / 1000;
    const place = round === null ? `model ${model.slice(0, 12)}` : `round ${round}`;
    return [`${startedAt}  ${place} · ${what} · ${duration(seconds)} · by ${by}`, ...scores.map(scoreText)];
  });
}

function scoreText({ task, metric, value, stderr, samples }: EvalScore): string {
  const rests = samples === null ? '' : ` (${samples} rows)`;
  return `  ${task}  ${metric} ${value.toFixed(4)}${stderr === null ? '' : ` ± ${stderr.toFixed(4)}`}${rests}`;
}
