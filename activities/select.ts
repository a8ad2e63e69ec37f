/**
 * Selection: guards and selectors choose r(t) for each example, or leave r(t-1). Every candidate and the incumbent, with
 * guard and scores, is a line of `decisions`, so that another selector costs no new sample.
 */
import type { GuardCounts } from '../contracts/counts.js';
import { inputInvalid } from '../contracts/errors.js';
import type { ObjectRef } from '../contracts/refs.js';
import { type Decision, Example, INCUMBENT, ParsedCandidate, Score, type ScoreName } from '../contracts/rows.js';
import type { PromptTemplates } from '../contracts/spec.js';
import { SelectInput, SelectOutput } from '../contracts/steps.js';
import { guardOf } from '../method/guards/index.js';
import { groupById } from '../method/rows.js';
import { choose, scoresOf } from '../method/selectors/index.js';
import { activity, type Deps } from './activity.js';
import { selectInputs } from './keys.js';
import { memoize } from './memoize.js';
import { textsOf } from './texts.js';

type ScoreTable = ReadonlyMap<string, Partial<Record<ScoreName, number>>>;

export const srlmSelect = ({ store }: Deps) =>
  activity('select', SelectInput, async (input, progress) => {
    const { data, candidates, scores, selection, texts, round } = input;
    const missing = scoresOf(selection.selector).find((name) => !scores[name]);
    if (missing) throw inputInvalid('select', `selector ${selection.selector} needs the score ${missing}`);
    const { prompts } = await textsOf(store, texts);
    progress.expect(data.rows);
    return memoize(store, 'select', selectInputs(input, prompts), SelectOutput, async () => {
      const candidateChunks = await store.datasets.chunks(candidates);
      const scoreChunks = await Promise.all(
        Object.entries(scores).map(
          async ([name, ref]) => [name as ScoreName, await store.datasets.chunks(ref)] as const,
        ),
      );
      const decisionChunks: ObjectRef[] = [];
      const count = { changed: 0, enriched: 0, chars: 0 };
      const guards: GuardCounts = { of: 'guards', candidates: 0, guards: {} };
      const dataset = await store.datasets.map(data, async (chunk, i) => {
        const table = await scoreTable(scoreChunks.map(([name, chunks]) => [name, chunks[i]!] as const));
        const byExample = groupById(await store.objects.readRows(candidateChunks[i]!, ParsedCandidate));
        const decisions: Decision[] = [];
        const next = (await store.objects.readRows(chunk, Example)).map((example) => {
          const lines = decide(example, byExample.get(example.id) ?? [], table, input, prompts);
          decisions.push(...lines);
          countGuards(guards, lines);
          const winner = lines.find(({ chosen }) => chosen)!;
          if (winner.k === INCUMBENT) return example;
          count.changed++;
          return { ...example, rationale: winner.rationale, origin: { round, k: winner.k } };
        });
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

    async function scoreTable(chunks: readonly (readonly [ScoreName, ObjectRef])[]): Promise<ScoreTable> {
      const table = new Map<string, Partial<Record<ScoreName, number>>>();
      for (const [name, chunk] of chunks)
        for (const { id, k, score } of await store.objects.readRows(chunk, Score)) {
          const key = lineKey(id, k);
          table.set(key, { ...table.get(key), [name]: score });
        }
      return table;
    }
  });

function countGuards(counts: GuardCounts, lines: readonly Decision[]): void {
  for (const { k, guard } of lines) {
    if (k === INCUMBENT) continue;
    counts.candidates++;
    if (guard !== null) counts.guards[guard] = (counts.guards[guard] ?? 0) + 1;
  }
}

const lineKey = (id: string, k: number) => `${k} ${id}`;

/** One line for the incumbent and one for each candidate; one of them is chosen. */
function decide(
  example: Example,
  candidates: readonly ParsedCandidate[],
  table: ScoreTable,
  { scores, enrichFrom, selection, seed, round }: SelectInput,
  templates: PromptTemplates,
): Decision[] {
  const { id } = example;
  const names = Object.keys(scores) as ScoreName[];
  const lines = [
    { k: INCUMBENT, rationale: example.rationale, guard: null },
    ...candidates.map((candidate) => ({
      ...{ k: candidate.k, rationale: candidate.rationale },
      guard: guardOf(candidate, { example, templates, enrichFrom }),
    })),
  ].map((line) => ({
    id,
    ...line,
    chars: line.rationale.length,
    scores: Object.fromEntries(names.map((name) => [name, table.get(lineKey(id, line.k))?.[name] ?? null])),
  }));
  const chosen = choose(lines, selection, `${seed} ${round} ${id}`);
  return lines.map((line) => ({ ...line, chosen: line.k === chosen }));
}
