/**
 * Log-probabilities: how likely a model finds the answer after the incumbent rationale and after each distinct candidate,
 * or, without candidates, after no rationale, as the model is trained on rows that have none. Guards take no part in it:
 * which candidates are sound is decided by the selection, so that a changed guard costs no new request.
 */
import type { ObjectRef } from '../contracts/refs.js';
import { Example, INCUMBENT, NO_RATIONALE, ParsedCandidate, type Score } from '../contracts/rows.js';
import type { LogprobStep } from '../contracts/steps.js';
import { answerMessages, answerSuffix, replyPrefix } from '../method/prompts.js';
import { groupById } from '../method/rows.js';
import { logprobRecipe } from './keys.js';
import { type ShardedKind, settleAll, weightsOf } from './sharded-kind.js';

/** The scores of a row, and how many rationales it has to score. */
interface Scored {
  scores: Score[];
  rationales: number;
}

export const logprob: ShardedKind<LogprobStep> = {
  needs: () => ['loadsWeights', 'promptLogprobs'],
  recipe: (step, { prompts }, engine) => logprobRecipe(step, prompts, weightsOf(step, engine)),
  data: ({ data, candidates }) => (candidates ? [data, candidates] : [data]),
  // Paid for by what was read.
  tokens: ({ promptTokens }) => promptTokens,
  async work({ candidates: asked }, { prompts }, [chunk, candidateChunk], { store, client, signal, cost, onRow }) {
    const examples = await store.objects.readRows(chunk as ObjectRef, Example);
    const candidates = asked
      ? groupById(await store.objects.readRows(candidateChunk as ObjectRef, ParsedCandidate))
      : null;
    const scored_E = await settleAll(
      examples.map(async (example): Promise<Scored> => {
        const { id, answer } = example;
        const rationales = candidates
          ? compared(example, candidates.get(id) ?? [])
          : [{ k: NO_RATIONALE, rationale: '' }];
        // Those that say the same are computed once.
        const distinct = [...new Set(rationales.map((one) => one.rationale))];
        if (distinct.length === 0) {
          onRow();
          return { scores: [], rationales: 0 };
        }
        const messages = answerMessages(prompts, example);
        const prefixes = distinct.map((one) => replyPrefix(prompts, one));
        const suffix = answerSuffix(prompts, answer);
        const requestId = `logprob:${candidates ? '' : 'no-rationale:'}${id}`;
        const request = { messages, prefixes_K: prefixes, suffix, requestId };
        const { nats_KT } = await client.logprobs(request, signal, cost);
        onRow();
        const scores = rationales.flatMap(({ k, rationale }) => {
          const nats_T = nats_KT[distinct.indexOf(rationale)];
          return nats_T ? [{ id, k, ...scoreOf(nats_T) }] : [];
        });
        return { scores, rationales: rationales.length };
      }),
    );
    const rows = scored_E.flatMap(({ scores }) => scores);
    const total = scored_E.reduce((sum, { rationales }) => sum + rationales, 0);
    return { rows, counts: { of: 'scores', candidates: total, without: total - rows.length } };
  },
};

/** Without a candidate there is nothing to compare the incumbent with. */
const compared = ({ rationale }: Example, candidates_K: readonly ParsedCandidate[]) =>
  candidates_K.length === 0 ? [] : [{ k: INCUMBENT, rationale }, ...candidates_K];

function scoreOf(nats_T: readonly number[]): Pick<Score, 'score' | 'logprobs'> {
  const mean = nats_T.reduce((sum, value) => sum + value, 0) / nats_T.length;
  return { score: mean, logprobs: nats_T.map((value) => Math.round(value * 100) / 100) };
}
