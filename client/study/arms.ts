/**
 * A study file as the run specs of its arms: the base spec, with the patch of each arm, checked by the schema of a run
 * spec. A message names the file, the line, the arm and the field. Throws what loadSpec throws, and spec.invalid.
 */
import { existsSync } from 'node:fs';
import { dirname, isAbsolute, relative, resolve } from 'node:path';
import { z } from 'zod';
import { Problem, show, specInvalid } from '../../contracts/errors.js';
import { RunSpec } from '../../contracts/spec.js';
import { StudySpec } from '../../contracts/study.js';
import { NOT_READY, type Patch, PRESETS, patched } from '../../method/study/arms.js';
import { checkSpec, type LineAt, loadSpec, loadWithLines } from '../spec-file.js';

export interface Arm {
  name: string;
  /** The ready-made arm that it is, or begins with; null: another. */
  preset: string | null;
  spec: RunSpec;
}

export interface LoadedStudy {
  study: StudySpec;
  baseline: string;
  arms: Arm[];
  /** Where an arm is in the file, for messages. */
  at: (arm: string, field?: string) => { file: string; line: number | undefined; field: string };
}

/** Paths of the result are relative to the current folder, so that a message names a file as a shell would. */
export async function loadStudy(file: string): Promise<LoadedStudy> {
  const { spec: study, lineAt } = await loadWithLines(file, StudySpec);
  const base = await baseOf(file, study.base, lineAt);
  const at = (arm: string, field?: string) => ({
    file,
    line: (field && lineAt(['arms', arm, field])) || lineAt(['arms', arm]),
    field: `arms.${arm}${field ? `.${field}` : ''}`,
  });
  const arms = Object.entries(study.arms).map(([name, given]): Arm => {
    const { preset, patch } = patchOf(given, (why) => specInvalid(at(name), why));
    const fields = Object.keys(patch);
    const own = patch.seed ?? patch.name;
    if (own !== undefined) throw specInvalid(at(name, 'seed' in patch ? 'seed' : 'name'), 'a study sets this field.');
    try {
      const value = { ...patched(base, fromHere(patch, dirname(resolve(file)))), name };
      return { name, preset, spec: shortened(checkSpec(value, RunSpec, file)) };
    } catch (error) {
      const { reason, field = '' } = whatOf(error);
      // The line of the patch that has it; else it is what the ready-made arm sets.
      const line = fields.find((one) => field === one || field.startsWith(`${one}.`) || one.startsWith(`${field}.`));
      throw specInvalid({ ...at(name, line), field: `arms.${name}${field && `.${field}`}` }, reason);
    }
  });
  const baseline = study.baseline ?? arms[0]!.name;
  if (!arms.some(({ name }) => name === baseline))
    throw specInvalid(
      { file, line: lineAt(['baseline']), field: 'baseline' },
      `there is no arm ${show(baseline)}; the arms are ${arms.map(({ name }) => name).join(', ')}.`,
    );
  return { study, baseline, arms, at };
}

const Raw = z.record(z.string(), z.unknown());

/** As it was written, with absolute paths, and known to be a run spec. */
async function baseOf(file: string, base: StudySpec['base'], lineAt: LineAt): Promise<Record<string, unknown>> {
  const folder = dirname(resolve(file));
  if (typeof base !== 'string') {
    checkSpec(base, z.looseObject({}), file);
    try {
      checkSpec(base, RunSpec, file);
    } catch (error) {
      const { reason, field = '' } = whatOf(error);
      const line = lineAt(['base', ...field.split('.')]);
      throw specInvalid({ file, line, field: `base${field && `.${field}`}` }, reason);
    }
    return fromHere(base, folder);
  }
  const path = isAbsolute(base) ? base : relative(process.cwd(), resolve(folder, base));
  await loadSpec(path, RunSpec);
  return fromHere(await loadSpec(path, Raw), dirname(resolve(path)));
}

function whatOf(error: unknown): { reason: string; field?: string | undefined } {
  if (error instanceof Problem) return { reason: error.reason, field: error.at?.field };
  return { reason: `${(error as Error).message}.` };
}

function patchOf(
  given: StudySpec['arms'][string],
  refused: (why: string) => Problem,
): { preset: string | null; patch: Patch } {
  const { preset: named, ...patch } = typeof given === 'string' ? { preset: given } : given;
  if (named === undefined) return { preset: equalPreset(patch), patch };
  const name = String(named);
  const preset = Object.hasOwn(PRESETS, name) ? PRESETS[name] : undefined;
  const why = Object.hasOwn(NOT_READY, name)
    ? `; ${NOT_READY[name]}`
    : `; there are ${Object.keys(PRESETS).join(', ')}`;
  if (!preset) throw refused(`there is no ready-made arm ${show(named)}${why}.`);
  return { preset: name, patch: { ...preset.patch, ...patch } };
}

/** An arm that was written out counts as the ready-made one. */
function equalPreset(patch: Patch): string | null {
  const text = (one: Patch) =>
    JSON.stringify(
      Object.entries(one)
        .filter(([, value]) => value !== null)
        .sort(),
    );
  const [found] = Object.entries(PRESETS).find(([, one]) => !one.derives && text(one.patch) === text(patch)) ?? [];
  return found ?? null;
}

// --- paths ------------------------------------------------------------------------------------------------------------
const FILES = ['data', 'catalysts', 'evaluation'] as const;

/** A spec, or a patch of one, with absolute paths. */
function fromHere(value: Record<string, unknown>, folder: string): Record<string, unknown> {
  const moved = JSON.parse(JSON.stringify(value)) as Record<string, unknown>;
  const move = (holder: Record<string, unknown>, key: string, isModel: boolean) => {
    const path = holder[key];
    if (typeof path !== 'string' || isAbsolute(path)) return;
    // A model may also be named by its path below a model root.
    if (!isModel || existsSync(resolve(folder, path))) holder[key] = resolve(folder, path);
  };
  for (const name of [...FILES, 'model'] as const) {
    const source = moved[name];
    if (typeof source === 'object' && source !== null)
      move(source as Record<string, unknown>, 'path', name === 'model');
    move(moved, `${name}.path`, name === 'model');
  }
  return moved;
}

/** Paths of data files as a shell would name them. */
function shortened(spec: RunSpec): RunSpec {
  for (const name of FILES) {
    const source = spec[name];
    if (source === 'none') continue;
    const short = relative(process.cwd(), source.path);
    source.path = short.startsWith('..') ? source.path : short || '.';
  }
  return spec;
}
