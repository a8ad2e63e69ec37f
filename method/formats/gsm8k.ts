/** GSM8K: an answer that ends in a line `#### x`, where x is the answer and the text before it the rationale. */
import type { Form } from './form.js';

export const gsm8k: Form = {
  answer(text) {
    // Only on the last line: elsewhere `####` is a heading.
    const marked = /(?:^|\n)####[ \t]*(?=\S)([^\n]+)$/.exec(text);
    if (!marked) return null;
    const before = text
      .slice(0, marked.index)
      // Annotations for a calculator: <<2+3=5>>.
      .replace(/<<[^<>\n]*>>/g, '')
      .trim();
    return { rationale: before || null, answer: marked[1]!.trim() };
  },
};
