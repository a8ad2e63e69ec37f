/**
 * A judge's verdicts: each sound, distinct candidate of a row against the incumbent, in both orders, greedily. Two
 * requests a pair. Guards take part, unlike in logprob.ts: a request to a judge may cost money.
 */
import { addCounts, isSuspect, type VerdictCounts } from '../contracts/counts.js';
import type { ObjectRef } from '../contracts/refs.js';
import { Example, ParsedCandidate } from '../contracts/rows.js';
import type { SpecTexts } from '../contracts/spec.js';
import type { JudgeStep } from '../contracts/steps.js';
import type { Completion } from '../engines/client.js';
import { guardsFor } from '../method/guards/index.js';
import { compared, type Judged, judgePrompt, noVerdicts, verdictsOf } from '../method/judge.js';
import { groupById } from '../method/rows.js';
import { judgeRecipe } from './keys.js';
import { type ChunkTools, type ShardedKind, settleAll, weightsOf } from './sharded-kind.js';

export const judge: ShardedKind<JudgeStep> = {
  needs: () => [],
  recipe: (step, { prompts }, engine) => judgeRecipe(step, prompts, weightsOf(step, engine)),
  data: ({ data, candidates }) => [data, candidates],
  // Paid for by what was written.
  tokens: ({ completionTokens }) => completionTokens,
  async work(step, texts, [chunk, candidateChunk], tools) {
    const { objects } = tools.store;
    const examples = await objects.readRows(chunk as ObjectRef, Example);
    const candidates = groupById(await objects.readRows(candidateChunk as ObjectRef, ParsedCandidate));
    const judged_E = await settleAll(
      examples.map(async (example) => {
        const pairs = await judgeRow(step, texts, example, candidates.get(example.id) ?? [], tools);
        tools.onRow();
        return verdictsOf(example.id, pairs);
      }),
    );
    const counts = addCounts(judged_E.map((one) => one.counts)) as VerdictCounts | null;
    return { rows: judged_E.flatMap(({ rows }) => rows), counts: counts ?? noVerdicts() };
  },
};

function judgeRow(
  { enrichFrom, maxTokens }: JudgeStep,
  { prompts }: SpecTexts,
  example: Example,
  candidates: readonly ParsedCandidate[],
  { client, signal, cost }: ChunkTools,
): Promise<Judged[]> {
  const guardOf = guardsFor({ example, templates: prompts, enrichFrom });
  const guarded = candidates.map(({ k, rationale, truncated }) => ({
    ...{ k, rationale },
    guard: guardOf({ rationale, truncated }),
  }));
  const ask = async (k: number, order: string, pair: readonly [string, string]): Promise<Completion | undefined> => {
    const request = {
      messages: [{ role: 'user' as const, content: judgePrompt(prompts, example, pair) }],
      ...{ n: 1, seed: 0, temperature: 0, topP: 1, topK: 0, maxTokens, stop: [] },
      requestId: `judge:${order}:${k}:${example.id}`,
    };
    const [reply] = await client.sample(request, signal, cost);
    return reply;
  };
  return settleAll(
    compared(example.rationale, guarded).map(async ({ rationale, ks }) => {
      const replies = await settleAll([
        ask(ks[0]!, 'first', [rationale, example.rationale]),
        ask(ks[0]!, 'second', [example.rationale, rationale]),
      ]);
      const [first, second] = replies.map((reply) => reply?.text ?? '');
      const suspect = replies.filter((reply) => !reply || isSuspect({ id: example.id, ...reply })).length;
      return { ks, replies: [first!, second!] as const, suspect };
    }),
  );
}
