/**
 * GSM8K: an answer that ends in a line `#### x`, where x is the answer and the text before it the rationale. MetaMath:
 * it ends in a line `The answer is: x`, which may follow that one and repeats its answer.
 */
import type { Form } from './form.js';

export const gsm8k: Form = {
  answer(text) {
    const line = /(?:^|\n)[Tt]he answer is:[ \t]*(?=\S)([^\n]+)$/.exec(text);
    const above = line ? text.slice(0, line.index).trimEnd() : text;
    // Only on the last line: elsewhere `####` is a heading.
    const marked = /(?:^|\n)####[ \t]*(?=\S)([^\n]+)$/.exec(above);
    const repeats = marked && (!line || line[1]!.trim() === marked[1]!.trim());
    const last = repeats ? marked : line;
    if (!last) return null;
    const rationale = text
      .slice(0, last.index)
      // Annotations for a calculator: <<2+3=5>>.
      .replace(/<<[^<>\n]*>>/g, '')
      .trim();
    return { rationale: rationale || null, answer: last[1]!.trim() };
  },
};
