/**
 * One reply, enriched at inference: the model enriches the rationale of its reply and answers after the new one. The
 * same in an evaluation (evaluation.enrich) and in `srlm ask --enrich`: at depth d this was done d times. Whoever calls
 * it sends the requests. Throws what they throw.
 */
import type { Candidate, Message } from '../contracts/rows.js';
import type { PromptTemplates } from '../contracts/spec.js';
import { parseRationale } from './parse.js';
import { type Asked, answerMark, answerMessages, enrichPrompt, replyPrefix } from './prompts.js';

type Written = Pick<Candidate, 'text' | 'finish'>;

/** A request for one text. `continueReply`: the last message is the beginning of the reply. */
export interface Wanted {
  what: 'enrich' | 'answer';
  messages: Message[];
  stop: string[];
  continueReply: boolean;
}

/** `text`: the whole reply. `cut`: the rationale, or what follows it, ended at the most tokens. */
export interface Deepened<W extends Written> {
  text: string;
  cut: boolean;
  /** The last text that was written: what follows the rationale. */
  last: W;
}

/** null: no rationale came, and the reply stays as it is. */
export async function deepened<W extends Written>(
  asked: Asked,
  reply: string,
  templates: PromptTemplates,
  write: (wanted: Wanted) => Promise<W | undefined>,
): Promise<Deepened<W> | null> {
  const before = parseRationale(reply, templates);
  const example = { instruction: asked.instruction, original: before, rationale: before };
  const mark = answerMark(templates);
  const written = await write({
    what: 'enrich',
    messages: [{ role: 'user', content: enrichPrompt(templates, example, 'current') }],
    stop: mark ? [mark] : [],
    continueReply: false,
  });
  const rationale = written ? parseRationale(written.text, templates) : '';
  if (!written || rationale === '') return null;
  const prefix = replyPrefix(templates, rationale);
  const messages: Message[] = [...answerMessages(templates, asked), { role: 'assistant', content: prefix }];
  const last = await write({ what: 'answer', messages, stop: [], continueReply: true });
  if (!last) return null;
  const isCut = written.finish === 'length' || last.finish === 'length';
  return { text: prefix + last.text, cut: isCut, last };
}
