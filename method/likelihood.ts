/**
 * Questions that are scored by log-probabilities instead of by a reply. `choice-likelihood`: the choice whose text is the
 * likeliest answer, in nats a token, without reasoning; the choices are not listed in the question. `likelihood`: the
 * expected answer after the model's own rationale, against the same without one. Never throws.
 */

import type { Question, Score } from '../contracts/rows.js';
import { type Example, type Grade, INCUMBENT, type LikelihoodGrade, type ParsedCandidate } from '../contracts/rows.js';
import type { PromptTemplates } from '../contracts/spec.js';
import { questionText } from './graders/index.js';
import { parseRationale } from './parse.js';
import { letter } from './prompts.js';

/** Enters the keys of what is made here. */
export const VERSION = 1;

/** The model's own rationale, as a candidate: the incumbent is no rationale at all. */
const OWN = 0;

const row = (id: string, instruction: string, turns: Question['turns'], answer: string): Example => ({
  ...{ id, instruction, turns, original: null, rationale: '', answer, origin: null },
});

const choiceId = (id: string, choice: number) => `${id}#${choice}`;

/** A row a choice. */
export const choiceRows = ({ id, question, turns, choices }: Question): Example[] =>
  (choices ?? []).map((text, i) => row(choiceId(id, i), question, turns, text));

/** A choice without a log-probability is longer than the model's context: nobody knows which is the likeliest. */
export function gradeChoices(question: Question, scores: ReadonlyMap<string, readonly Score[]>): Grade {
  const { id, choices, answer } = question;
  const nats = (choices ?? []).map((_, i) => scores.get(choiceId(id, i))?.[0]?.score ?? null);
  const isWhole = nats.every((one) => one !== null);
  const best = isWhole ? nats.indexOf(Math.max(...(nats as number[]))) : -1;
  const given = best < 0 ? null : letter(best);
  const lines = nats.map((one, i) => `${letter(i)}  ${one === null ? '-' : one.toFixed(3)}`);
  return {
    ...{ id, correct: given === answer, given, expected: answer },
    ...{ question: questionText(question), reply: lines.join('\n') },
  };
}

/** The question as it was asked, and the rationale of the reply as its only candidate. */
export function likelihoodRow(
  asked: Question,
  reply: string,
  templates: PromptTemplates,
): { example: Example; candidate: ParsedCandidate } {
  const { id, turns, answer } = asked;
  const last = questionText({ ...asked, question: turns?.at(-1)?.content ?? asked.question });
  const before = turns && [...turns.slice(0, -1), { role: 'user' as const, content: last }];
  return {
    example: row(id, last, before, answer),
    candidate: { id, k: OWN, rationale: parseRationale(reply, templates), truncated: false },
  };
}

export function gradeLikelihood(question: Question, reply: string, scores: readonly Score[]): LikelihoodGrade {
  const natsOf = (k: number) => scores.find((score) => score.k === k)?.score ?? null;
  const { id, answer: expected } = question;
  const [nats, natsAlone] = [natsOf(OWN), natsOf(INCUMBENT)];
  return { id, expected, nats, natsAlone, question: questionText(question), reply };
}
