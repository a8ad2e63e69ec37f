/**
 * Enrichment at inference: for each reply to a question, the reply with its rationale enriched once more and the answer
 * after it (method/deepen.ts). A reply of which nothing could be enriched stays as it is, so that every depth has the
 * same replies, by `id` and `k`.
 */
import { countTexts } from '../contracts/counts.js';
import type { DeepenStep } from '../contracts/curve-settings.js';
import type { ObjectRef } from '../contracts/refs.js';
import { Candidate, Question } from '../contracts/rows.js';
import type { PromptTemplates } from '../contracts/spec.js';
import { deepened } from '../method/deepen.js';
import { askedOf } from '../method/graders/index.js';
import { rowSeed } from '../method/random.js';
import { groupById } from '../method/rows.js';
import { deepenRecipe } from './keys.js';
import { type ChunkTools, type ShardedKind, settleAll, weightsOf } from './sharded-kind.js';

export const deepen: ShardedKind<DeepenStep> = {
  needs: () => ['loadsWeights'],
  recipe: (step, { prompts }, engine) => deepenRecipe(step, prompts, weightsOf(step, engine)),
  data: ({ data, replies }) => [data, replies],
  // Paid for by what was written.
  tokens: ({ completionTokens }) => completionTokens,
  async work(step, { prompts }, [chunk, replyChunk], tools) {
    const { objects } = tools.store;
    const questions = await objects.readRows(chunk as ObjectRef, Question);
    const replies = groupById(await objects.readRows(replyChunk as ObjectRef, Candidate));
    const deeper_E = await settleAll(
      questions.map(async (question) => {
        const replies_K = replies.get(question.id) ?? [];
        const deeper_K = await settleAll(replies_K.map((reply) => deeper(step, question, reply, prompts, tools)));
        tools.onRow();
        return deeper_K;
      }),
    );
    const rows = deeper_E.flat();
    return { rows, counts: countTexts(rows, questions.length, step.sampling.maxTokens) };
  },
};

async function deeper(
  { sampling, seed: runSeed, depth }: DeepenStep,
  question: Question,
  reply: Candidate,
  templates: PromptTemplates,
  { client, signal, cost }: ChunkTools,
): Promise<Candidate> {
  // The question is longer than the context, say: what would be asked next is longer still.
  if (reply.text === '') return reply;
  const id = `${reply.id}:${reply.k}`;
  const seed = rowSeed(runSeed, depth, 'deepen', id);
  const whole = await deepened(askedOf(question), reply.text, templates, async (wanted) => {
    const { what, ...request } = wanted;
    const temperature = what === 'enrich' ? sampling.temperature : 0;
    const drawn = { n: 1, seed, temperature, topP: 1, topK: 0, maxTokens: sampling.maxTokens };
    const requestId = `deepen:${what}:${depth}:${id}`;
    const [text] = await client.sample({ ...request, ...drawn, requestId }, signal, cost);
    return text;
  });
  if (!whole) return reply;
  const { text, cut, last } = whole;
  return { id: reply.id, k: reply.k, ...last, text, finish: cut ? 'length' : last.finish };
}
