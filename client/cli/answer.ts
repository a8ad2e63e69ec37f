/**
 * How `srlm ask` puts a question to a model. Plain: one greedy reply. `samples`: that many sampled replies and a majority
 * vote. `enrich`: the greedy rationale, enriched that many times by the model itself, an answer after each, and a vote.
 * Throws question.too-long.
 */
import { questionTooLong } from '../../contracts/errors.js';
import type { Message } from '../../contracts/rows.js';
import type { PromptTemplates } from '../../contracts/spec.js';
import type { Completion, EngineClient, SampleRequest } from '../../engines/client.js';
import { parseAnswer, parseRationale } from '../../method/parse.js';
import { answerMark, answerPrompt, enrichPrompt, replyPrefix } from '../../method/prompts.js';
import { rowSeed } from '../../method/random.js';
import { type Vote, vote } from '../../method/vote.js';

export interface AskSettings {
  enrich?: number;
  samples?: number;
  maxTokens: number;
  temperature?: number;
}

export interface Reply {
  rationale: string;
  answer: string | null;
  /** It was cut at `maxTokens`. */
  cut: boolean;
}

interface Answered {
  replies: Reply[];
  votes: Vote[];
}

export const DEFAULT_TEMPERATURE = 0.7;

type Ask = (request: Partial<SampleRequest> & Pick<SampleRequest, 'messages' | 'requestId'>) => Promise<Completion[]>;

export async function answer(
  client: Pick<EngineClient, 'sample'>,
  templates: PromptTemplates,
  question: string,
  { enrich, samples = 1, maxTokens, temperature }: AskSettings,
  signal: AbortSignal,
): Promise<Answered> {
  const seed = rowSeed(0, 0, 'ask', question);
  const ask: Ask = (request) =>
    client.sample({ n: 1, seed, temperature: 0, topP: 1, topK: 0, maxTokens, stop: [], ...request }, signal);
  const sampled = { temperature: temperature ?? DEFAULT_TEMPERATURE };
  const messages: Message[] = [{ role: 'user', content: answerPrompt(templates, question) }];
  const isGreedy = enrich !== undefined || (samples === 1 && temperature === undefined);
  const texts = await ask({ messages, requestId: 'ask', ...(isGreedy ? {} : { n: samples, ...sampled }) });
  if (texts.length === 0) throw questionTooLong();
  const plain = texts.map((text) => replyOf(text, text.text, templates));
  if (enrich === undefined) return counted(plain);

  const { rationale } = plain[0]!;
  const example = { instruction: question, original: rationale, rationale };
  const mark = answerMark(templates);
  const rewritten = await ask({
    messages: [{ role: 'user', content: enrichPrompt(templates, example, 'current') }],
    ...{ n: enrich, ...sampled, stop: mark ? [mark] : [], requestId: 'ask:enrich' },
  });
  const enriched = rewritten.map(({ text }) => parseRationale(text, templates)).filter((text) => text !== '');
  // Without an enriched rationale the greedy reply is the answer.
  if (enriched.length === 0) return counted(plain);
  return counted(await Promise.all(enriched.map((text, i) => finished(ask, messages, text, i, templates))));
}

/** The reply that begins with `rationale`, its answer written by the model. */
async function finished(
  ask: Ask,
  question: Message[],
  rationale: string,
  i: number,
  templates: PromptTemplates,
): Promise<Reply> {
  const prefix = replyPrefix(templates, rationale);
  const messages: Message[] = [...question, { role: 'assistant', content: prefix }];
  const [rest] = await ask({ messages, continueReply: true, requestId: `ask:answer:${i}` });
  return rest ? replyOf(rest, prefix + rest.text, templates) : { rationale, answer: null, cut: true };
}

const counted = (replies: Reply[]): Answered => ({ replies, votes: vote(replies.map(({ answer: given }) => given)) });

const replyOf = ({ finish }: Completion, text: string, templates: PromptTemplates): Reply => ({
  rationale: parseRationale(text, templates),
  answer: parseAnswer(text, templates),
  cut: finish === 'length',
});
