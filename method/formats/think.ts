/**
 * Reasoning models: an answer that begins with its reasoning, as `<think>...</think>`. The opening mark may be absent,
 * because many chat templates end with it.
 */
import type { Form } from './form.js';

const MARKS = ['think', 'thinking', 'reasoning'];

export const think: Form = {
  answer(text) {
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
