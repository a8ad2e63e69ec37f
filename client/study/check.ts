/**
 * Everything that can be found wrong before a study starts: each of its runs by the check of `srlm start`
 * (client/preflight.ts), and the disk that all of them need together. Data files are stored, and read once. Runs that
 * differ in nothing but the seed are checked once. Throws the first Problem, with its arm.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { idProblem, newId } from '../../config/run-id.js';
import type { Deployment } from '../../contracts/deployment.js';
import { Problem, specInvalid } from '../../contracts/errors.js';
import type { ObjectRef } from '../../contracts/refs.js';
import type { Catalyst } from '../../contracts/rows.js';
import { type RunSpec, splitRunSpec } from '../../contracts/spec.js';
import { MAX_RUNS, type PlannedRun, StudyPlan } from '../../contracts/study.js';
import { readData } from '../../method/formats/index.js';
import { PRESETS } from '../../method/study/arms.js';
import { formatOnly } from '../../method/study/format-only.js';
import { sharingOf } from '../../method/study/sharing.js';
import { sha256 } from '../../storage/files.js';
import { openStore, type Store } from '../../storage/store.js';
import { readFileBytes } from '../../storage/unpack.js';
import { checkDisk, checkRun } from '../preflight.js';
import type { Arm, LoadedStudy } from './arms.js';

export interface CheckedStudy {
  studyId: string;
  plan: StudyPlan;
  planRef: ObjectRef;
  atOnce: number;
  warnings: string[];
}

type CheckedRun = Awaited<ReturnType<typeof checkRun>>;
interface Seeded {
  arm: Arm;
  seed: number;
  spec: RunSpec;
  checked: CheckedRun;
}

export async function checkStudy(
  { study, baseline, arms, at }: LoadedStudy,
  deployment: Deployment,
  studyId = newId(study.name),
): Promise<CheckedStudy> {
  const count = arms.length * study.seeds.length;
  if (count > MAX_RUNS)
    throw specInvalid({ file: at(arms[0]!.name).file, field: 'seeds' }, `${count} runs are more than ${MAX_RUNS}.`);
  const store = openStore(deployment);
  const seen = new Map<string, CheckedRun>();
  const seeded: Seeded[] = [];
  // Seed by seed: the arms of the first seed can be compared first.
  for (const seed of study.seeds)
    for (const arm of arms) {
      const problem = idProblem(idOf(studyId, arm.name, seed));
      if (problem) throw specInvalid(at(arm.name), `${problem}.`);
      try {
        const spec = await specOf(store, arm, seed);
        const key = JSON.stringify({ ...spec, seed: 0, name: '' });
        const checked = seen.get(key) ?? (await checkRun(spec, deployment, process.cwd(), studyId));
        seen.set(key, checked);
        seeded.push({ arm, seed, spec, checked });
      } catch (error) {
        throw error instanceof Problem ? inArm(error, arm.name) : error;
      }
    }
  const plan = planOf(studyId, seeded, { study, baseline, arms });
  await assertRoom(store, plan, seeded, study.atOnce);
  const warnings = [...new Set([...seen.values()].flatMap((one) => one.warnings))].filter((one) => !isOfArm(one));
  return { studyId, plan, planRef: await store.objects.putJson(plan), atOnce: study.atOnce, warnings };
}

const idOf = (studyId: string, arm: string, seed: number) => `${studyId}-${arm}-s${seed}`;

/** It says that a control arm is none of the method, which whoever writes a study knows. */
const isOfArm = (warning: string) => warning.includes('This is a control arm');

/** The same problem, in the words of the study. */
function inArm({ type, retry, at, reason, hint }: Problem, arm: string): Problem {
  return new Problem({ type, retry, at, reason: `${reason.replace(/\.$/, '')} (arm ${arm}).`, hint });
}

function planOf(
  studyId: string,
  seeded: readonly Seeded[],
  { study, baseline, arms }: Pick<LoadedStudy, 'study' | 'baseline' | 'arms'>,
): StudyPlan {
  const shared = sharingOf(
    seeded.map(({ spec, checked: { input } }) => ({
      ...splitRunSpec(spec),
      files: {
        data: input.data.sha256,
        catalysts: input.catalysts?.sha256 ?? null,
        evaluation: input.evaluation?.sha256 ?? null,
      },
    })),
  );
  const runs = seeded.map(({ arm, seed, checked: { input } }, i): PlannedRun => {
    const settings = { ...input.settings, seed, name: arm.name };
    return {
      id: idOf(studyId, arm.name, seed),
      arm: arm.name,
      seed,
      shared: shared[i]!,
      input: { ...input, settings },
    };
  });
  return StudyPlan.parse({
    version: 1,
    name: study.name,
    arms: arms.map(({ name, preset }) => ({ name, preset })),
    ...{ baseline, confidence: study.confidence, runs },
  });
}

/** All models and texts, a round 0 that runs share once, and the checkpoints of the runs that train at the same time. */
async function assertRoom(store: Store, { runs }: StudyPlan, seeded: readonly Seeded[], atOnce: number): Promise<void> {
  const known = new Set<number>();
  let need = 0;
  for (const [i, { checked, spec }] of seeded.entries()) {
    const { models, texts } = checked.disk;
    const { round0 } = runs[i]!.shared;
    need += texts + (known.has(round0) ? (models * spec.rounds) / (spec.rounds + 1) : models);
    known.add(round0);
  }
  const checkpoints = Math.max(...seeded.map(({ checked }) => checked.disk.checkpoints));
  await checkDisk(store, need + atOnce * checkpoints, 'study');
}

// --- derived catalysts ------------------------------------------------------------------------------------------------
async function specOf(store: Store, { preset, spec }: Arm, seed: number): Promise<RunSpec> {
  const seeded = { ...spec, seed };
  if (preset === null || PRESETS[preset]?.derives !== 'format-only') return seeded;
  const { catalysts } = seeded;
  if (catalysts === 'none')
    throw specInvalid({ file: 'catalysts' }, 'format-only catalysts are made of catalysts, and the base has none.');
  const rows: Catalyst[] = [];
  const { path: source, fields, limit = null, skipInvalid } = catalysts;
  const watch = skipInvalid ? { onFault: () => true } : {};
  const bytes = readFileBytes(resolve(source), source);
  for await (const row of readData('catalysts', bytes, source, fields, limit, watch)) rows.push(row);
  const derived = formatOnly(rows, seed);
  if (!derived)
    throw specInvalid({ file: catalysts.path }, 'format-only catalysts need rows with different enriched rationales.');
  const text = derived.map((row) => `${JSON.stringify(row)}\n`).join('');
  // In the store's folder, for whoever wants to look at them.
  const path = join(store.root, 'studies', `format-only-s${seed}-${sha256(text).slice(0, 12)}.jsonl`);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
  const { copies, use } = catalysts;
  return { ...seeded, catalysts: { path, fields: {}, skipInvalid: false, copies, use } };
}
