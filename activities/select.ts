/**
 * CPU steps between sampling and training: examples become rows with a first rationale, candidates meet the
 * selectors, the winners and the catalysts become the training mixture. All cheap, all repeatable: another selector
 * costs no new sample.
 */
import { Dataset, type Manifest } from '../contracts/artifacts.js';
import { Candidate, Catalyst, type Decision, Example, INCUMBENT, Row, Score } from '../contracts/records.js';
import { MixInput, RationalizedInput, SelectInput, SelectOutput } from '../contracts/steps.js';
import { guard } from '../method/guards.js';
import { answerRow, catalystRow } from '../method/mixture.js';
import { parseRationale } from '../method/parse.js';
import { choose, needs } from '../method/selectors.js';
import { mixInputs, rowsInputs, selectInputs } from '../storage/keys.js';
import { activity, type Deps, metered, once } from './activity.js';

/** Examples -> rows. A rationale that could not be written stays empty: the row then teaches the plain answer. */
export const srlmRows = ({ store }: Deps) =>
  activity('rows', RationalizedInput, async (input) => {
    const { prompts } = input;
    const record = await once(store, 'rows', rowsInputs(input), () =>
      metered('rows', 'rows', input.data.rows, async (meter) => {
        const written = input.candidates ? await store.chunksOf(input.candidates) : [];
        const chunks: Manifest[] = [];
        let chars = 0;
        for (const [i, chunk] of (await store.chunksOf(input.data)).entries()) {
          const texts = new Map<string, string>();
          if (written[i])
            for (const { id, text } of await store.readRows(written[i], Candidate))
              texts.set(id, parseRationale(text, prompts));
          const rows = (await store.readRows(chunk, Example)).map(({ id, instruction, rationale, answer }): Row => {
            const original = rationale ?? texts.get(id) ?? '';
            chars += original.length;
            return { id, instruction, original, rationale: original, answer, origin: null };
          });
          chunks.push(await store.putRows(rows));
          meter.add(rows.length);
        }
        const data = await store.putDataset(chunks);
        return { files: [data], output: { data, meanRationaleChars: chars / Math.max(1, data.rows) } };
      }),
    );
    return record.output as { data: Dataset; meanRationaleChars: number };
  });

/** Every candidate and the incumbent, with guard and scores, is a line of `decisions`; the winner is r(t). */
export const srlmSelect = ({ store }: Deps) =>
  activity('select', SelectInput, async (input) => {
    const { data, candidates, offPolicy, onPolicy, prompts, enrichFrom, selection, seed, round } = input;
    const record = await once(store, 'select', selectInputs(input), () =>
      metered('select', 'rows', data.rows, async (meter) => {
        const [candidateChunks, offChunks, onChunks] = await Promise.all([
          store.chunksOf(candidates),
          offPolicy ? store.chunksOf(offPolicy) : [],
          onPolicy ? store.chunksOf(onPolicy) : [],
        ]);
        const rowChunks: Manifest[] = [];
        const decisionChunks: Manifest[] = [];
        let changed = 0;
        let enriched = 0;
        let chars = 0;
        for (const [i, chunk] of (await store.chunksOf(data)).entries()) {
          const byRow = groupById(await store.readRows(candidateChunks[i]!, Candidate));
          const off = scoreTable(offChunks[i] ? await store.readRows(offChunks[i], Score) : []);
          const on = scoreTable(onChunks[i] ? await store.readRows(onChunks[i], Score) : []);
          const next: Row[] = [];
          const decisions: Decision[] = [];
          for (const row of await store.readRows(chunk, Row)) {
            const table_K = [
              { k: INCUMBENT, rationale: row.rationale, guard: null },
              ...(byRow.get(row.id) ?? []).map((candidate) => ({
                k: candidate.k,
                rationale: parseRationale(candidate.text, prompts),
                guard: guard(candidate, { prompts, row, enrichFrom }),
              })),
            ].map(
              (line): Decision => ({
                id: row.id,
                ...line,
                chars: line.rationale.length,
                offPolicyNats: off.get(`${row.id} ${line.k}`) ?? null,
                onPolicyNats: on.get(`${row.id} ${line.k}`) ?? null,
                chosen: false,
              }),
            );
            const need = needs(selection.selector);
            // Without a score (the text is longer than the context) a candidate cannot be compared.
            const comparable = table_K.filter(
              (line) =>
                !((need.offPolicy && line.offPolicyNats === null) || (need.onPolicy && line.onPolicyNats === null)),
            );
            const best =
              comparable[0]?.k === INCUMBENT ? choose(comparable, selection, `${seed} ${round} ${row.id}`) : INCUMBENT;
            const winner = table_K.find(({ k }) => k === best)!;
            winner.chosen = true;
            decisions.push(...table_K);
            const kept = best === INCUMBENT;
            const rationale = kept ? row.rationale : winner.rationale;
            next.push({ ...row, rationale, origin: kept ? row.origin : { round, k: best } });
            if (!kept) changed++;
            if (next.at(-1)!.origin) enriched++;
            chars += rationale.length;
          }
          rowChunks.push(await store.putRows(next));
          decisionChunks.push(await store.putRows(decisions));
          meter.add(next.length);
        }
        const chosen = await store.putDataset(rowChunks);
        const decisions = await store.putDataset(decisionChunks);
        const output: SelectOutput = {
          data: chosen,
          decisions,
          changed,
          enriched,
          meanRationaleChars: chars / Math.max(1, data.rows),
        };
        return { files: [chosen, decisions], output };
      }),
    );
    return SelectOutput.parse(record.output);
  });

/** {(x, r(t), y)} and the catalysts, `copies` times each, as lines for the trainer. */
export const srlmMix = ({ store }: Deps) =>
  activity('mix', MixInput, async (input) => {
    const { data, catalysts, copies, use, prompts } = input;
    const record = await once(store, 'mix', mixInputs(input), () =>
      metered('mix', 'rows', data.rows, async (meter) => {
        const chunks: Manifest[] = [];
        for (const chunk of await store.chunksOf(data)) {
          const rows = await store.readRows(chunk, Row);
          chunks.push(await store.putRows(rows.map((row) => answerRow(row, prompts))));
          meter.add(rows.length);
        }
        for (const chunk of catalysts ? await store.chunksOf(catalysts) : []) {
          const lines = (await store.readRows(chunk, Catalyst)).map((catalyst) => catalystRow(catalyst, prompts, use));
          const file = await store.putRows(lines);
          // The same chunk listed again: copies cost no space.
          for (let copy = 0; copy < copies; copy++) chunks.push(file);
        }
        const mixture = await store.putDataset(chunks);
        return { files: [mixture], output: mixture };
      }),
    );
    return Dataset.parse(record.output);
  });

function groupById(candidates: Candidate[]): Map<string, Candidate[]> {
  const groups = new Map<string, Candidate[]>();
  for (const candidate of candidates) {
    const group = groups.get(candidate.id);
    if (group) group.push(candidate);
    else groups.set(candidate.id, [candidate]);
  }
  return groups;
}

function scoreTable(scores: Score[]): Map<string, number> {
  return new Map(scores.map(({ id, k, logprobNats }) => [`${id} ${k}`, logprobNats]));
}
