/** Sampling: K texts for each row of a chunk, from prompts that depend on the step's purpose. */
import type { z } from 'zod';
import { countTexts } from '../contracts/counts.js';
import type { ObjectRef } from '../contracts/refs.js';
import { type Candidate, Example, type Message, PromptRow, Question } from '../contracts/rows.js';
import type { SpecTexts } from '../contracts/spec.js';
import type { SampleStep } from '../contracts/steps.js';
import { catalystMessages } from '../method/catalysts/prompt.js';
import { evaluateMessages } from '../method/graders/index.js';
import { answerMark, enrichPrompt, rationalizePrompt, sampleMessages } from '../method/prompts.js';
import { rowSeed } from '../method/random.js';
import { sampleRecipe } from './keys.js';
import { type ChunkTools, type ShardedKind, settleAll, weightsOf } from './sharded-kind.js';

type Row = Example | Question | PromptRow;

/** What a purpose reads, and what it asks about a row; null: nothing. */
interface Purpose<R extends Row> {
  schema: z.ZodType<R>;
  ask(row: R, step: SampleStep, texts: SpecTexts): Message[] | null;
}

const user = (content: string): Message[] => [{ role: 'user', content }];

const PURPOSES: {
  [P in SampleStep['purpose']]: Purpose<never> | Purpose<Example> | Purpose<Question> | Purpose<PromptRow>;
} = {
  enrich: {
    schema: Example,
    ask: (row: Example, { enrichFrom }: SampleStep, { prompts }: SpecTexts) =>
      user(enrichPrompt(prompts, row, enrichFrom)),
  },
  rationalize: {
    schema: Example,
    ask: (row: Example, _: SampleStep, { prompts }: SpecTexts) =>
      row.original === null ? user(rationalizePrompt(prompts, row)) : null,
  },
  evaluate: {
    schema: Question,
    ask: (row: Question, _: SampleStep, { prompts }: SpecTexts) => evaluateMessages(prompts, row),
  },
  prompt: {
    schema: PromptRow,
    ask: (row: PromptRow, _: SampleStep, { prompt, system }: SpecTexts) => sampleMessages(prompt, system, row),
  },
  catalyst: {
    schema: Example,
    ask: (row: Example, { seed, round }: SampleStep, texts: SpecTexts) => catalystMessages(texts, row, seed, round),
  },
};

export const sample: ShardedKind<SampleStep> = {
  // An endpoint has a model of its own: it may write first rationales, but is not the model that a round has trained.
  needs: ({ purpose }) => (purpose === 'enrich' || purpose === 'evaluate' ? ['loadsWeights'] : []),
  recipe: (step, texts, engine) => sampleRecipe(step, texts, weightsOf(step, engine)),
  data: ({ data }) => [data],
  // Paid for by what was written.
  tokens: ({ completionTokens }) => completionTokens,
  async work(step, texts, [chunk], tools) {
    const purpose = PURPOSES[step.purpose] as Purpose<Row>;
    const rows = await tools.store.objects.readRows(chunk as ObjectRef, purpose.schema);
    const stop = stopsOf(step, texts);
    let asked = 0;
    const candidates_E = await settleAll(
      rows.map(async (row) => {
        const messages = purpose.ask(row, step, texts);
        if (messages !== null) asked++;
        const candidates_K = messages === null ? [] : await sampleRow(step, row.id, messages, stop, tools);
        tools.onRow();
        return candidates_K;
      }),
    );
    const candidates = candidates_E.flat();
    return { rows: candidates, counts: countTexts(candidates, asked, step.sampling.maxTokens) };
  },
};

/** An enriched rationale ends where the answer would begin: what follows is neither kept nor paid for. */
function stopsOf({ purpose, sampling }: SampleStep, { prompts }: SpecTexts): string[] {
  const mark = purpose === 'enrich' ? answerMark(prompts) : null;
  return mark ? [mark] : sampling.stop;
}

async function sampleRow(
  { purpose, sampling, seed, round }: SampleStep,
  id: string,
  messages: Message[],
  stop: string[],
  { client, signal, cost }: ChunkTools,
): Promise<Candidate[]> {
  const { k: n, temperature, topP, topK, maxTokens } = sampling;
  const request = {
    ...{ messages, n, temperature, topP, topK, maxTokens, stop },
    seed: rowSeed(seed, round, purpose, id),
    requestId: `${purpose}:${round}:${id}`,
  };
  const texts_K = await client.sample(request, signal, cost);
  return texts_K.map((text, k) => ({ id, k, ...text }));
}
