/**
 * Sampled text -> rationale or answer. Never throws: what cannot be read is '' or null, and guards and grades say so.
 * Reading a rationale twice gives the same as reading it once.
 */
import type { Prompts } from '../contracts/spec.js';
import { answerMark } from './prompts.js';

const LABEL =
  /^(?:\*\*|#+ )?(?:here(?: is|['’]s) )?(?:(?:an?|the|my|more|new|rewritten|enriched|improved|detailed|comprehensive|short|better) )*(?:reasoning|rationale|explanation):(?:\*\*)?\s*/i;
const FENCE = /^```[^\n]*\n((?:(?!```)[\s\S])*)```$/;
const QUOTED = /^(?:"([^"]*)"|“([^“”]*)”)$/;

/**
 * Cut at the first answer mark, so that no answer stays in a rationale; freed of labels, fences and quotes around it.
 */
export function parseRationale(text: string, prompts: Prompts): string {
  const mark = answerMark(prompts);
  const cut = mark === null ? -1 : text.indexOf(mark);
  let rationale = (cut < 0 ? text : withoutLead(text.slice(0, cut))).trim();
  for (let before = ''; before !== rationale; ) {
    before = rationale;
    rationale = rationale.replace(LABEL, '').replace(FENCE, '$1').replace(QUOTED, '$1$2').trim();
  }
  return rationale;
}

/** "... **Final " before "Answer:". Only the end is searched: text may be a loop of 100,000 spaces. */
const withoutLead = (text: string) =>
  text.slice(0, -40) + text.slice(-40).replace(/(?:^|\s)[*_#]{0,6}\s?(?:final\s*)?$/i, '');

/** The line after the last answer mark; else `#### x`; else \boxed{x}. A template without a mark: the last line. */
export function parseAnswer(text: string, prompts: Prompts): string | null {
  const mark = answerMark(prompts);
  const found =
    (mark === null || !text.includes(mark) ? null : firstLine(text.slice(text.lastIndexOf(mark) + mark.length))) ??
    hashed(text) ??
    boxed(text) ??
    (mark === null ? lastLine(text) : null);
  return found === null ? null : (boxed(found) ?? found);
}

function firstLine(text: string): string | null {
  const line = text
    .replace(/^[\s]*\*\*(?=\s|$)/, '')
    .trim()
    .split(/\r?\n/, 1)[0]!
    .trim();
  return line.replace(/^\*\*(.+)\*\*$/, '$1').trim() || null;
}

const lastLine = (text: string) => firstLine(text.trim().split(/\r?\n/).at(-1)!);

function hashed(text: string): string | null {
  const at = text.lastIndexOf('####');
  return at < 0 ? null : firstLine(text.slice(at + 4));
}

/** The last \boxed{...}, braces inside it balanced. */
function boxed(text: string): string | null {
  const open = text.lastIndexOf('\\boxed{');
  if (open < 0) return null;
  const from = open + '\\boxed{'.length;
  for (let at = from, depth = 1; at < text.length; at++) {
    if (text[at] === '{') depth++;
    else if (text[at] === '}' && --depth === 0) return text.slice(from, at).trim() || null;
  }
  return null;
}
