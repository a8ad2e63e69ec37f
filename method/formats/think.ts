/**
 * Reasoning models: an answer that begins with its reasoning, as `<think>...</think>`. The opening mark may be absent,
 * because many chat templates end with it. OpenThoughts, Sky-T1 and Bespoke-Stratos mark both parts in words of their own.
 */
import type { Form } from './form.js';

const MARKS = ['think', 'thinking', 'reasoning'];

const IN_WORDS = /^\s*<\|begin_of_thought\|>([\s\S]*?)<\|end_of_thought\|>([\s\S]*)$/;

export const think: Form = {
  answer(text) {
    const [, thought, solution] = IN_WORDS.exec(text) ?? [];
    if (thought !== undefined && solution !== undefined) {
      const answer = solution.replace(/^\s*<\|begin_of_solution\|>|<\|end_of_solution\|>\s*$/g, '').trim();
      return { rationale: thought.trim() || null, answer };
    }
    const opened = /^\s*<(\w+)>/.exec(text);
    const name = opened && MARKS.includes(opened[1]!) ? opened[1]! : 'think';
    const start = opened && MARKS.includes(opened[1]!) ? opened[0].length : 0;
    const end = text.indexOf(`</${name}>`, start);
    // Reasoning that never ends was cut: the text has no answer.
    if (end < 0) return start > 0 ? { rationale: null, answer: '' } : null;
    return {
      rationale: text.slice(start, end).trim() || null,
      answer: text.slice(end + name.length + 3).trim(),
    };
  },
};
