/**
 * Catalysts: which rows a wave asks (draw), and which replies become catalysts (pick). Both read the data a chunk at a
 * time; what is held of a row is bounded, whatever its texts are. Throws artifact.damaged, data.damaged.
 */
import { DrawInput, DrawOutput, Picked, PickInput } from '../contracts/catalysts.js';
import type { CatalystCounts } from '../contracts/counts.js';
import type { DatasetRef, ObjectRef } from '../contracts/refs.js';
import { Candidate, Catalyst, Example, RejectedReply, type Rejection } from '../contracts/rows.js';
import { StratifiedOrder } from '../method/catalysts/draw.js';
import { isWorthAnother, Picker } from '../method/catalysts/pick.js';
import { groupById } from '../method/rows.js';
import type { Store } from '../storage/store.js';
import { activity, type Deps } from './activity.js';
import { drawInputs, pickInputs } from './keys.js';
import { memoize } from './memoize.js';
import { textsOf } from './texts.js';

/** Each pass over the list of chunks finds so many of a wave's: its rows are in memory. */
const CHUNKS_AT_ONCE = 32;

export const srlmDrawCatalysts = ({ store }: Deps) =>
  activity('draw', DrawInput, async (input, progress) => {
    const { data, again, againRows, from, rows, chunkSize, seed } = input;
    progress.expect(data.rows);
    return memoize(store, 'draw', drawInputs(input), DrawOutput, async () => {
      const chunks = again ? await firstRows(store, again, againRows) : [];
      let missingRationales = 0;
      let drawn = 0;
      if (rows > 0) {
        const order = new StratifiedOrder(seed);
        for await (const row of store.datasets.rows(data, Example)) {
          order.add(row);
          progress.add(1);
        }
        const wanted = order.slice(from, rows);
        drawn = wanted.length;
        const atOnce = CHUNKS_AT_ONCE * chunkSize;
        for (let at = 0; at < wanted.length; at += atOnce) {
          const examples = await rowsAt(store, data, wanted.slice(at, at + atOnce));
          missingRationales += examples.filter(({ original }) => original === null).length;
          for (let i = 0; i < examples.length; i += chunkSize)
            chunks.push(await store.objects.putRows(examples.slice(i, i + chunkSize)));
        }
      }
      const dataset = await store.datasets.put(chunks);
      return { holds: [{ kind: 'dataset', ref: dataset }], output: { dataset, drawn, missingRationales } };
    });
  });

async function firstRows(store: Store, again: DatasetRef, rows: number): Promise<ObjectRef[]> {
  const chunks: ObjectRef[] = [];
  let left = rows;
  for (const chunk of await store.datasets.chunks(again)) {
    if (left <= 0) break;
    const isWhole = chunk.rows <= left;
    const first = async () => (await store.objects.readRows(chunk, Example)).slice(0, left);
    chunks.push(isWhole ? chunk : await store.objects.putRows(await first()));
    left -= chunk.rows;
  }
  return chunks;
}

/** In the order of `wanted`. Reads only the chunks that hold them. */
async function rowsAt(store: Store, data: DatasetRef, wanted: readonly number[]): Promise<Example[]> {
  const found = new Map<number, Example>();
  const isWanted = new Set(wanted);
  let at = 0;
  for (const chunk of await store.datasets.chunks(data)) {
    const end = at + chunk.rows;
    if (wanted.some((row) => at <= row && row < end)) {
      const rows = await store.objects.readRows(chunk, Example);
      for (const [i, row] of rows.entries()) if (isWanted.has(at + i)) found.set(at + i, row);
    }
    at = end;
  }
  return wanted.map((row) => found.get(row)!);
}

export const srlmPickCatalysts = ({ store }: Deps) =>
  activity('pick', PickInput, async (input, progress) => {
    const { prompts } = await textsOf(store, input.texts);
    progress.expect(input.asked.rows);
    return memoize(store, 'pick', pickInputs(input, prompts), Picked, async () => {
      const { wave, asked, replies, before, count, tries, maxSkillShare } = input;
      const picker = new Picker(count, maxSkillShare, prompts);
      const last = new Map<string, { why: Rejection; times: number }>();
      const reject = (id: string, why: Rejection) => last.set(id, { why, times: (last.get(id)?.times ?? 0) + 1 });
      const kept = new Set<string>();
      if (before) {
        for await (const row of store.datasets.rows(before.catalysts, Catalyst)) {
          picker.keep(row);
          kept.add(row.id);
        }
        for await (const { id, why } of store.datasets.rows(before.rejected, RejectedReply)) reject(id, why);
      }
      const made = { catalysts: [] as ObjectRef[], rejected: [] as ObjectRef[], again: [] as ObjectRef[] };
      const put = async (part: keyof typeof made, rows: readonly object[]) => {
        if (rows.length > 0) made[part].push(await store.objects.putRows(rows));
      };
      let requests = before?.counts.asked ?? 0;
      const replyChunks = await store.datasets.chunks(replies);
      for (const [i, chunk] of (await store.datasets.chunks(asked)).entries()) {
        const byRow = groupById(await store.objects.readRows(replyChunks[i]!, Candidate));
        const examples = await store.objects.readRows(chunk, Example);
        const catalysts: Catalyst[] = [];
        const rejected: RejectedReply[] = [];
        const again: Example[] = [];
        for (const example of examples) {
          const { id } = example;
          const [reply] = byRow.get(id) ?? [];
          if (reply) requests++;
          const outcome = picker.judge(example, reply);
          if (outcome.why === null) {
            picker.keep(outcome.catalyst);
            catalysts.push(outcome.catalyst);
            kept.add(id);
            continue;
          }
          reject(id, outcome.why);
          rejected.push({ id, wave, why: outcome.why, detail: outcome.detail, text: reply?.text ?? '' });
          if (isWorthAnother(outcome.why) && last.get(id)!.times < tries) again.push(example);
        }
        await put('catalysts', catalysts);
        await put('rejected', rejected);
        await put('again', again);
        progress.add(examples.length);
      }
      const joined = async (part: 'catalysts' | 'rejected') =>
        store.datasets.put([...(before ? await store.datasets.chunks(before[part]) : []), ...made[part]]);
      const output: Picked = {
        catalysts: await joined('catalysts'),
        rejected: await joined('rejected'),
        again: made.again.length > 0 ? await store.datasets.put(made.again) : null,
        counts: countsOf(picker, kept, last, requests),
      };
      const refs = [output.catalysts, output.rejected, ...(output.again ? [output.again] : [])];
      return { holds: refs.map((ref) => ({ kind: 'dataset' as const, ref })), output };
    });
  });

/** A row that was rejected and then kept counts as kept. */
function countsOf(
  picker: Picker,
  kept: ReadonlySet<string>,
  last: ReadonlyMap<string, { why: Rejection }>,
  asked: number,
): CatalystCounts {
  const rejected: Partial<Record<Rejection, number>> = {};
  let rows = kept.size;
  for (const [id, { why }] of last) {
    if (kept.has(id)) continue;
    rows++;
    rejected[why] = (rejected[why] ?? 0) + 1;
  }
  return { of: 'catalysts', rows, asked, kept: picker.kept, rejected, skills: picker.skillCounts };
}
