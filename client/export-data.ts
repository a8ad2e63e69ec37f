/**
 * The data that a round trained on, as a folder that `datasets.load_dataset` opens: train.jsonl, a dataset card that
 * names the columns and their types, and provenance.json; on request the round's model. The folder appears when it is
 * complete, or not at all; one with files in it is never touched. One chunk of rows is in memory. Throws
 * artifact.damaged, model.changed, file.not-writable.
 */
import { createWriteStream } from 'node:fs';
import { copyFile, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileNotWritable, modelUnusable } from '../contracts/errors.js';
import { Example } from '../contracts/rows.js';
import type { Intervention } from '../contracts/run.js';
import type { RunSpec } from '../contracts/spec.js';
import type { RoundSummary } from '../contracts/steps.js';
import { codeOf, fileSystemProblem, temporaryName } from '../storage/files.js';
import { folderDigest, folderState } from '../storage/model-folder.js';
import type { Store } from '../storage/store.js';
import { printable, visibleJson } from '../text/text.js';

export interface Exported {
  runId: string;
  round: RoundSummary;
  /** As the run was started. */
  spec: RunSpec;
  interventions: Intervention[];
  withModel: boolean;
}

/** Columns, and their types in the words of `datasets`. */
const COLUMNS = {
  id: 'string',
  instruction: 'string',
  rationale: 'string',
  answer: 'string',
  original_rationale: 'string',
  enriched: 'bool',
  round: 'int32',
  candidate: 'int32',
  turns: [{ role: 'string', content: 'string' }],
} as const;

type Row = { [Column in keyof typeof COLUMNS]: unknown };

/** `turns` is null where the instruction is the only turn before the reply. */
const rowOf = ({ id, instruction, rationale, answer, original, origin, turns }: Example): Row => ({
  ...{ id, instruction, rationale, answer, original_rationale: original, enriched: origin !== null },
  ...{ round: origin?.round ?? null, candidate: origin?.k ?? null, turns },
});

/** Writes the folder, and returns the names of what is in it. */
export async function exportData(store: Store, exported: Exported, folder: string): Promise<string[]> {
  const target = resolve(folder);
  // Beside it, so that the rename stays within one file system.
  const temporary = join(dirname(target), `.srlm-export~${temporaryName()}`);
  try {
    await mkdir(temporary, { recursive: true });
    const files = await fill(store, exported, temporary);
    // An empty folder is replaced; one with files in it refuses.
    await rename(temporary, target);
    return files;
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => {});
    const { path, syscall } = error as NodeJS.ErrnoException;
    if (codeOf(error) === 'ENOTEMPTY' || codeOf(error) === 'EEXIST') throw notEmpty(folder);
    const isOurs = path?.startsWith(temporary) || path?.startsWith(target) || syscall === 'write';
    throw isOurs
      ? fileNotWritable(folder, `the folder cannot be written (${codeOf(error)})`, 'folder')
      : fileSystemProblem(error);
  }
}

export const notEmpty = (folder: string) => fileNotWritable(folder, 'the folder is not empty', 'folder');

async function fill(store: Store, exported: Exported, folder: string): Promise<string[]> {
  const { round, withModel } = exported;
  await pipeline(
    Readable.from(lines(store, round)),
    createWriteStream(join(folder, 'train.jsonl'), { flags: 'wx', flush: true }),
  );
  await writeFile(join(folder, 'provenance.json'), `${visibleJson(provenance(exported), 2)}\n`);
  await writeFile(join(folder, 'README.md'), card(exported));
  if (withModel) await copyModel(store, round, join(folder, 'model'));
  return ['train.jsonl', 'provenance.json', 'README.md', ...(withModel ? ['model'] : [])];
}

async function* lines({ datasets }: Store, { set }: RoundSummary): AsyncGenerator<string> {
  for await (const row of datasets.rows(set.dataset, Example)) yield `${JSON.stringify(rowOf(row))}\n`;
}

/** The files of the model alone, without links, and with the digest that it was trained with. */
async function copyModel(store: Store, { model }: RoundSummary, folder: string): Promise<void> {
  const from = await store.models.local(model);
  const { files } = (await folderState(from))!;
  for (const file of files) {
    await mkdir(dirname(join(folder, file)), { recursive: true });
    await copyFile(join(from, file), join(folder, file));
  }
  if ((await folderDigest(folder)) !== model.sha256)
    throw modelUnusable(from, 'its files changed while they were copied.', 'Try again.');
}

function provenance({ runId, round, spec, interventions }: Exported) {
  const { set, candidates, decisions, model, evaluation, gate, changed } = round;
  return {
    run: runId,
    round: round.round,
    ...{
      rows: set.rows,
      enriched: set.enriched,
      changedInThisRound: changed,
      meanRationaleChars: set.meanRationaleChars,
    },
    ...{ dataset: set.dataset, candidates, decisions, model, evaluation, gate, report: round.report ?? null },
    spec,
    interventions,
  };
}

/** Names that a user chose are quoted as JSON, which is YAML too. */
function card({ runId, round, spec, withModel }: Exported): string {
  const { set, evaluation } = round;
  const size = ['n<1K', '1K<n<10K', '10K<n<100K', '100K<n<1M', '1M<n<10M'][Math.max(0, String(set.rows).length - 3)];
  const types = Object.entries(COLUMNS).flatMap(([name, type]) =>
    typeof type === 'string'
      ? [`    - name: ${name}`, `      dtype: ${type}`]
      : [
          ...[`    - name: ${name}`, '      list:'],
          ...Object.entries(type[0]).flatMap(([part, kind]) => [`        - name: ${part}`, `          dtype: ${kind}`]),
        ],
  );
  const named = (text: string) => `\`${printable(text).replaceAll('`', "'")}\``;
  const score = evaluation ? `, ${evaluation.correct} of ${evaluation.total} held-out questions right` : '';
  return [
    '---',
    `pretty_name: ${JSON.stringify(printable(spec.name))}`,
    'task_categories:',
    '- text-generation',
    'tags:',
    '- srlm',
    '- synthetic',
    ...(size ? ['size_categories:', `- ${size}`] : []),
    'configs:',
    '- config_name: default',
    '  data_files:',
    '  - split: train',
    '    path: train.jsonl',
    'dataset_info:',
    '  features:',
    ...types,
    '---',
    '',
    `# ${printable(spec.name)}`,
    '',
    `The training set of round ${round.round} of the srlm run ${named(runId)}: ${set.rows} rows, of which ${set.enriched} have a rationale that the model itself has enriched (mean length ${Math.round(set.meanRationaleChars)} characters)${score}.`,
    '',
    `Made from ${named(basename(spec.data.path))} with the model ${named(basename(spec.model.path))}. Instructions and answers are those of the source, whose licence applies. Rationales were written by a model and were not checked.`,
    '',
    '| column | meaning |',
    '|---|---|',
    '| `id` | of the row, as in `srlm show` |',
    '| `instruction`, `answer` | of the source |',
    '| `turns` | the conversation before the reply; null where the instruction is all of it |',
    '| `rationale` | what was trained on |',
    '| `original_rationale` | what the source had, or what the starting model wrote first |',
    '| `enriched`, `round`, `candidate` | whether the model wrote the rationale, in which round, and which of its candidates it is |',
    '',
    '`provenance.json` has the spec, the digests of data, candidates, decisions and weights, and what operators changed.',
    ...(withModel ? ['', '`model/` is the model that this round trained on these rows.'] : []),
    '',
  ].join('\n');
}
