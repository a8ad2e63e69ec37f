/**
 * Chat `messages` -> one instruction and one answer. The last assistant turn is the answer, and what precedes it is the
 * instruction: a single user turn unchanged, several turns as lines "User: ..." and "Assistant: ...", a system message
 * above them. Where only a prompt is wanted and the user speaks last, the whole chat is the instruction.
 * Throws data.invalid for an item that is not a message.
 */
import { rowInvalid, show } from '../../contracts/errors.js';
import type { Form, RowContext } from './form.js';
import { toText } from './text.js';

const SPEAKERS: Record<string, string> = { user: 'User', assistant: 'Assistant' };

export const chat: Form = {
  row({ input: _, ...row }, context) {
    // A spec that names the field of the instruction wants that field, not the messages.
    if (!Array.isArray(row.messages) || context.fields.instruction !== undefined) return null;
    return { ...row, ...chatTexts(row.messages, context) };
  },
};

function chatTexts(
  messages: readonly unknown[],
  { at, wanted }: RowContext,
): { instruction?: string; answer?: string } {
  const turns = messages.map((message, i) => {
    const { role, content } = (message ?? {}) as { role?: unknown; content?: unknown };
    const field = `messages[${i}]`;
    if (role !== 'system' && role !== 'user' && role !== 'assistant') {
      throw rowInvalid({ ...at, field: `${field}.role` }, `expected system, user or assistant, found ${show(role)}.`);
    }
    return { role, content: toText(content, { ...at, field: `${field}.content` }) };
  });
  const answerAt = turns.findLastIndex(({ role }) => role === 'assistant');
  const whole = answerAt < 0 || (wanted === 'prompt' && turns.at(-1)!.role === 'user');
  const before = whole ? turns : turns.slice(0, answerAt);
  const spoken = before.filter(({ role }) => role !== 'system');
  const texts: { instruction?: string; answer?: string } = {};
  if (spoken.some(({ role }) => role === 'user')) {
    const system = before.filter(({ role }) => role === 'system').map(({ content }) => `${content}\n\n`);
    texts.instruction =
      system.join('') +
      (spoken.length === 1
        ? spoken[0]!.content
        : spoken.map(({ role, content }) => `${SPEAKERS[role]}: ${content}`).join('\n'));
  }
  if (answerAt >= 0) texts.answer = turns[answerAt]!.content;
  return texts;
}
