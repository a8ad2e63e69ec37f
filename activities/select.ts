/**
 * Selection: guards and selectors choose r(t) for each example, or leave r(t-1). Every candidate and the incumbent, with
 * guard and scores, is a line of `decisions`, so that another selector costs no new sample.
 */
import type { GuardCounts } from '../contracts/counts.js';
import { inputInvalid } from '../contracts/errors.js';
import type { ObjectRef } from '../contracts/refs.js';
import {
  type Decision,
  Example,
  INCUMBENT,
  NO_RATIONALE,
  ParsedCandidate,
  SCORES,
  Score,
  type ScoreName,
  Verdict,
} from '../contracts/rows.js';
import type { PromptTemplates } from '../contracts/spec.js';
import { SelectInput, SelectOutput } from '../contracts/steps.js';
import { guardsFor } from '../method/guards/index.js';
import { groupById } from '../method/rows.js';
import { type CandidateRow, decide, scoresOf, withChosen } from '../method/selectors/index.js';
import { activity, type Deps } from './activity.js';
import { selectInputs } from './keys.js';
import { memoize } from './memoize.js';
import { askOwn, type NamedSelector, ownSelectorOf } from './own-selector.js';
import { textsOf } from './texts.js';

/** What a model says of the rationales of each row, by its id; a name that is not a key was not asked. */
type ScoreTable = ReadonlyMap<ScoreName, ReadonlyMap<string, readonly Score[]>>;

export const srlmSelect = ({ store, deployment }: Deps) =>
  activity('select', SelectInput, async (input, progress) => {
    const { data, candidates, scores, selection, texts, round } = input;
    const missing = scoresOf(selection.selector).find((name) => !scores[name]);
    if (missing) throw inputInvalid('select', `the selector needs the score ${missing}`);
    const own = ownSelectorOf(selection, deployment);
    const { prompts } = await textsOf(store, texts);
    progress.expect(data.rows);
    return memoize(store, 'select', selectInputs(input, prompts, own ?? undefined), SelectOutput, async () => {
      const candidateChunks = await store.datasets.chunks(candidates);
      const judgedChunks = input.judged ? await store.datasets.chunks(input.judged) : null;
      const tables = [...(await chunksOf(scores)), ...(await chunksOf(input.withoutRationale))];
      const decisionChunks: ObjectRef[] = [];
      const count = { changed: 0, enriched: 0, chars: 0 };
      const guards: GuardCounts = { of: 'guards', candidates: 0, guards: {} };
      const dataset = await store.datasets.map(data, async (chunk, i) => {
        const table = await scoreTable(tables.map(([name, chunks]) => [name, chunks[i]!] as const));
        const byExample = groupById(await store.objects.readRows(candidateChunks[i]!, ParsedCandidate));
        const verdicts = judgedChunks ? groupById(await store.objects.readRows(judgedChunks[i]!, Verdict)) : null;
        const decisions: Decision[] = [];
        const next: Example[] = [];
        for (const example of await store.objects.readRows(chunk, Example)) {
          const judged = verdicts && (verdicts.get(example.id) ?? []);
          const seen = linesOf(example, byExample.get(example.id) ?? [], table, judged, input, prompts);
          const lines = await decided(seen, example, input, own);
          decisions.push(...lines);
          countGuards(guards, lines);
          const winner = lines.find(({ chosen }) => chosen)!;
          if (winner.k === INCUMBENT) {
            next.push(example);
            continue;
          }
          count.changed++;
          next.push({ ...example, rationale: winner.rationale, origin: { round, k: winner.k } });
        }
        for (const { rationale, origin } of next) {
          if (origin) count.enriched++;
          count.chars += rationale.length;
        }
        decisionChunks.push(await store.objects.putRows(decisions));
        progress.add(next.length);
        return next;
      });
      const decisions = await store.datasets.put(decisionChunks);
      const meanRationaleChars = count.chars / Math.max(1, data.rows);
      const set = { dataset, rows: data.rows, enriched: count.enriched, meanRationaleChars };
      const output: SelectOutput = { set, decisions, changed: count.changed, counts: guards };
      return {
        holds: [
          { kind: 'dataset', ref: dataset },
          { kind: 'dataset', ref: decisions },
        ],
        output,
      };
    });

    function chunksOf(datasets: SelectInput['scores']): Promise<(readonly [ScoreName, ObjectRef[]])[]> {
      const asked = SCORES.flatMap((name) => (datasets[name] ? [[name, datasets[name]] as const] : []));
      return Promise.all(asked.map(async ([name, ref]) => [name, await store.datasets.chunks(ref)] as const));
    }

    async function scoreTable(chunks: readonly (readonly [ScoreName, ObjectRef])[]): Promise<ScoreTable> {
      const found = await Promise.all(
        chunks.map(async ([name, chunk]) => [name, await store.objects.readRows(chunk, Score)] as const),
      );
      const rowsOf = (name: ScoreName) => found.flatMap(([of, rows]) => (of === name ? rows : []));
      const asked = SCORES.filter((name) => found.some(([of]) => of === name));
      return new Map(asked.map((name) => [name, groupById(rowsOf(name))]));
    }
  });

function countGuards(counts: GuardCounts, lines: readonly Decision[]): void {
  for (const { k, guard } of lines) {
    if (k === INCUMBENT) continue;
    counts.candidates++;
    if (guard !== null) counts.guards[guard] = (counts.guards[guard] ?? 0) + 1;
  }
}

type Line = Omit<Decision, 'chosen'>;

async function decided(
  lines: readonly Line[],
  example: Example,
  { selection, seed, round }: SelectInput,
  own: NamedSelector | null,
): Promise<Decision[]> {
  const rowSeed = `${seed} ${round} ${example.id}`;
  if (!own) return decide(lines, selection, rowSeed);
  return withChosen(lines, selection, await askOwn(own, example, lines, rowSeed));
}

/** One line for the incumbent and one for each candidate. `verdicts` null: there is no judge. */
function linesOf(
  example: Example,
  candidates: readonly ParsedCandidate[],
  table: ScoreTable,
  verdicts: readonly Verdict[] | null,
  { enrichFrom }: SelectInput,
  templates: PromptTemplates,
): Line[] {
  const { id } = example;
  const guardOf = guardsFor({ example, templates, enrichFrom });
  const rationales = [
    { k: INCUMBENT, rationale: example.rationale, guard: null },
    ...candidates.map((candidate) => ({
      ...{ k: candidate.k, rationale: candidate.rationale },
      guard: guardOf(candidate),
    })),
  ];
  const judged = (k: number): Record<string, number | null> =>
    verdicts ? { judge: verdicts.find((one) => one.k === k)?.score ?? null } : {};
  return rationales.map((line) => {
    const withoutRationale = line.k === INCUMBENT ? tokensOf(table, id, NO_RATIONALE) : undefined;
    return {
      ...{ id, ...line, chars: line.rationale.length },
      scores: { ...scoresAt(table, id, line.k), ...judged(line.k) },
      logprobs: tokensOf(table, id, line.k),
      ...(withoutRationale ? { withoutRationale } : {}),
    };
  });
}

const scoreAt = (scores: ReadonlyMap<string, readonly Score[]>, id: string, k: number): Score | undefined =>
  scores.get(id)?.find((one) => one.k === k);

const scoresAt = (table: ScoreTable, id: string, k: number): Partial<Record<ScoreName, number | null>> =>
  Object.fromEntries([...table].map(([name, scores]) => [name, scoreAt(scores, id, k)?.score ?? null]));

function tokensOf(table: ScoreTable, id: string, k: number): CandidateRow['logprobs'] {
  const known = [...table].flatMap(([name, scores]) => {
    const logprobs = scoreAt(scores, id, k)?.logprobs;
    return logprobs ? [[name, logprobs] as const] : [];
  });
  return known.length > 0 ? Object.fromEntries(known) : undefined;
}
