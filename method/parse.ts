/**
 * Sampled text -> rationale or answer. Never throws: what cannot be read is '' or null, which guards and grades report.
 * Invariant: parsing a parsed rationale changes nothing.
 */
import type { Candidate, ParsedCandidate } from '../contracts/rows.js';
import type { PromptTemplates } from '../contracts/spec.js';
import { answerMark } from './prompts.js';

/** Enters the keys of parsed candidates and of grades. */
export const VERSION = 1;

const LABEL =
  /^(?:\*\*|#+ )?(?:here(?: is|['’]s) )?(?:(?:an?|the|my|more|new|rewritten|enriched|improved|detailed|comprehensive|short|better) )*(?:reasoning|rationale|explanation):(?:\*\*)?\s*/i;
const FENCE = /^```[^\n]*\n((?:(?!```)[\s\S])*)```$/;
const QUOTED = /^(?:"([^"]*)"|“([^“”]*)”)$/;

export function parseCandidate(
  { text, finish }: Pick<Candidate, 'text' | 'finish'>,
  templates: PromptTemplates,
): Pick<ParsedCandidate, 'rationale' | 'truncated'> {
  const mark = answerMark(templates);
  // With the answer mark in the text, the rationale had ended before the text was cut.
  const ended = mark !== null && text.includes(mark);
  return { rationale: parseRationale(text, templates), truncated: finish === 'length' && !ended };
}

/** Cut at the first answer mark, so that a rationale contains no answer; without labels, fences and quotes around it. */
export function parseRationale(text: string, templates: PromptTemplates): string {
  const mark = answerMark(templates);
  const cut = mark === null ? -1 : text.indexOf(mark);
  let rationale = (cut < 0 ? text : withoutLead(text.slice(0, cut))).trim();
  for (let before = ''; before !== rationale; ) {
    before = rationale;
    rationale = rationale.replace(LABEL, '').replace(FENCE, '$1').replace(QUOTED, '$1$2').trim();
  }
  return rationale;
}

/** "... **Final " before "Answer:". Only the end is searched: the text may be a loop of 100,000 spaces. */
const withoutLead = (text: string) =>
  text.slice(0, -40) + text.slice(-40).replace(/(?:^|\s)[*_#]{0,6}\s?(?:final\s*)?$/i, '');

/** The line after the last answer mark; else `#### x`; else \boxed{x}. A template without a mark: the last line. */
export function parseAnswer(text: string, templates: PromptTemplates): string | null {
  const mark = answerMark(templates);
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

/** The last \boxed{...}, with its inner braces balanced. */
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
