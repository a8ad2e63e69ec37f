/** Results of method/catalysts, for the corpus: rows, replies of every kind, and what becomes of them. */

import { DEFAULT_CATALYST_PROMPT } from '../../contracts/catalysts.js';
import type { Candidate, Example } from '../../contracts/rows.js';
import { PromptTemplates } from '../../contracts/spec.js';
import { StratifiedOrder } from '../../method/catalysts/draw.js';
import { Picker } from '../../method/catalysts/pick.js';
import { catalystMessages } from '../../method/catalysts/prompt.js';

export const exampleOf = (id: string, changes: Partial<Example> = {}): Example => ({
  ...{ id, instruction: `What is ${id}?`, turns: null, original: 'Add the two.', rationale: 'Add the two.' },
  ...{ answer: '38', origin: null, ...changes },
});

const ROWS = Array.from({ length: 60 }, (_, i) =>
  exampleOf(`row ${i}`, {
    instruction: 'x'.repeat(1 + ((i * 37) % 400)),
    ...(i % 3 === 0 ? {} : { source: `${i % 3}` }),
  }),
);

export const drawOutputs = () =>
  [0, 7].map((seed) => {
    const order = new StratifiedOrder(seed);
    for (const row of ROWS) order.add(row);
    return [order.slice(0, 20), order.slice(20, 60)];
  });

export const promptOutputs = () =>
  [0, 1].flatMap((seed) =>
    ROWS.slice(0, 8).map((row) => catalystMessages({ system: null, prompt: DEFAULT_CATALYST_PROMPT }, row, seed, 2)),
  );

const LONG = 'First take the tens, then the ones, and put both together; an estimate of forty agrees with that well.';
const OTHER =
  'Think of coins instead: two piles, each counted alone and then as one, which is what the sum asks for here.';
export const REPLIES: Partial<Candidate>[] = [
  { text: `Skills: detail, checking\nReasoning:\n${LONG}` },
  { text: `**Skills:** Analogy, Alternative thinking\n**Reasoning:** ${OTHER}` },
  { text: `\`\`\`\nSkills: summary; reflection and backward_thinking\n\nReasoning:\n${LONG} ${OTHER}\n\`\`\`` },
  ...[LONG, 'Skills: wit, detail', 'Skills: detail', 'Skills: detail, checking\nThoughts: no'].map((text) => ({
    text,
  })),
  { text: `Skills: detail, checking, summary, analogy, reflection\nReasoning: ${LONG}` },
  { text: `Skills: detail, checking\nReasoning: ${LONG}\nAnswer: 38` },
  { text: `Skills: detail, checking\nReasoning: ${LONG} It is 38.` },
  { text: 'Skills: detail, checking\nReasoning: Add.' },
  { text: `Skills: detail, checking\nReasoning: ${'Add the two. '.repeat(30)}` },
  { text: 'Skills: det', finish: 'length' },
  { text: '', finish: 'refused', reason: 'refusal: no' },
  { text: '', finish: 'filtered', reason: 'content_filter' },
  { text: '', finish: 'other', reason: 'no text' },
];

export function pickOutputs(): unknown[] {
  const picker = new Picker(6, 0.5, PromptTemplates.parse({}));
  const replies = [...REPLIES, ...REPLIES.slice(0, 3)];
  const outcomes = replies.map((reply, i) => {
    const outcome = picker.judge(exampleOf(`${i}`), { text: '', finish: 'stop', reason: null, ...reply });
    if (outcome.why === null) picker.keep(outcome.catalyst);
    return outcome;
  });
  return [...outcomes, picker.judge(exampleOf('none', { original: '' }), undefined), picker.skillCounts];
}
