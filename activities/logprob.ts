/**
 * Log-probabilities: how likely a model finds the answer after the incumbent rationale and after each distinct
 * candidate. Guards take no part in it: which candidates are sound is decided by the selection, so that a changed guard
 * costs no new request.
 */
import type { ObjectRef } from '../contracts/refs.js';
import { Example, INCUMBENT, ParsedCandidate, type Score } from '../contracts/rows.js';
import type { LogprobStep } from '../contracts/steps.js';
import { answerMessages, answerSuffix, replyPrefix } from '../method/prompts.js';
import { groupById } from '../method/rows.js';
import { logprobRecipe } from './keys.js';
import { type ShardedKind, settleAll, weightsOf } from './sharded-kind.js';

/** The scores of a row, and how many rationales it has to score. */
interface Scored {
  scores: Score[];
  candidates: number;
}

export const logprob: ShardedKind<LogprobStep> = {
  needs: () => ['loadsWeights', 'promptLogprobs'],
  recipe: (step, { prompts }, engine) => logprobRecipe(step, prompts, weightsOf(step, engine)),
  data: ({ data, candidates }) => [data, candidates],
  // Paid for by what was read.
  tokens: ({ promptTokens }) => promptTokens,
  async work(_, { prompts }, [chunk, candidateChunk], { store, client, signal, cost, onRow }) {
    const candidates = groupById(await store.objects.readRows(candidateChunk as ObjectRef, ParsedCandidate));
    const examples = await store.objects.readRows(chunk as ObjectRef, Example);
    const logprobs_E = await settleAll(
      examples.map(async (example): Promise<Scored> => {
        const { id, rationale, answer } = example;
        const candidates_K = candidates.get(id) ?? [];
        const rationales = [{ k: INCUMBENT, rationale }, ...candidates_K];
        // Candidates that say the same are computed once. Without a candidate there is nothing to compare.
        const distinct = candidates_K.length === 0 ? [] : [...new Set(rationales.map((one) => one.rationale))];
        if (distinct.length === 0) {
          onRow();
          return { scores: [], candidates: 0 };
        }
        const messages = answerMessages(prompts, example);
        const prefixes = distinct.map((one) => replyPrefix(prompts, one));
        const suffix = answerSuffix(prompts, answer);
        const request = { messages, prefixes_K: prefixes, suffix, requestId: `logprob:${id}` };
        const found = await client.logprobs(request, signal, cost);
        onRow();
        const scores = rationales.flatMap((one) => {
          const score = found.logprobNats_K[distinct.indexOf(one.rationale)] ?? null;
          return score === null ? [] : [{ id, k: one.k, score }];
        });
        return { scores, candidates: rationales.length };
      }),
    );
    const rows = logprobs_E.flatMap(({ scores }) => scores);
    const asked = logprobs_E.reduce((sum, one) => sum + one.candidates, 0);
    return { rows, counts: { of: 'scores', candidates: asked, without: asked - rows.length } };
  },
};
