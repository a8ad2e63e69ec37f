/**
 * A review of catalysts as Markdown: a section for each, with `decision: keep`, which a person changes to `drop` or `edit`.
 * Texts to read are quoted; the text to edit is in a fence that is longer than any run of tildes in it, so that whatever a
 * catalyst holds, it cannot be taken for a part of the review. Read back strictly: what is not of this form is refused with
 * its line. Invariant: written and read back unchanged, a review keeps every catalyst as it is. Pure.
 */
import { rowInvalid } from '../../contracts/errors.js';
import type { Catalyst } from '../../contracts/rows.js';
import { skillOf } from './reply.js';

const MARK = /^<!-- srlm catalyst review, digest ([0-9a-f]{64}), (\d+) catalysts -->$/;
const HEADING = /^## (\d+) · ("(?:[^"\\]|\\.)*")$/;
const DECISION = /^decision: (keep|drop|edit)$/;
const SKILLS_LINE = /^skills: ?(.*)$/;
const FENCE = /^(~{3,})text$/;

/** The head, then one section a catalyst. `sha256`: of the file that is reviewed. */
export function* reviewText(file: string, sha256: string, catalysts: readonly Catalyst[]): Generator<string> {
  yield `<!-- srlm catalyst review, digest ${sha256}, ${catalysts.length} catalysts -->`;
  yield `# Review of ${oneLine(file)}`;
  yield '';
  yield '> Each section has a line "decision: keep". Write drop there to leave the catalyst out, or edit to take the text';
  yield '> between the tildes, and the skills, as you have changed them. Change nothing else.';
  for (const [i, { id, instruction, rationale, enriched, skills }] of catalysts.entries()) {
    const tildes = '~'.repeat(Math.max(3, ...[...enriched.matchAll(/~+/g)].map(([run]) => run.length + 1)));
    yield '';
    yield `## ${i + 1} · ${JSON.stringify(oneLine(id))}`;
    yield '';
    yield* quoted('Question', instruction);
    yield '>';
    yield* quoted('Short rationale', rationale);
    yield '';
    yield 'decision: keep';
    yield `skills: ${skills.map(oneLine).join(', ')}`;
    yield `${tildes}text`;
    yield* linesOf(enriched);
    yield tildes;
  }
}

/** JSON Lines keep a line break in a text as `\n` alone or after `\r`; a lone `\r` is a line break for editors, too. */
const linesOf = (text: string) => text.split(/\r\n|\n|\r/);
const oneLine = (text: string) => text.replace(/\s+/g, ' ').trim();

function* quoted(name: string, text: string): Generator<string> {
  yield `> **${name}**`;
  for (const line of linesOf(text)) yield `> ${line}`.trimEnd();
}

export interface Decided {
  decision: 'keep' | 'drop' | 'edit';
  skills: string[];
  enriched: string;
}

export interface Review {
  sha256: string;
  /** In the order of the file. */
  decided: Decided[];
}

/** Throws data.invalid with the line. `catalysts`: those that were reviewed. */
export function readReview(file: string, text: string, catalysts: readonly Catalyst[]): Review {
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/);
  let at = 0;
  const refuse = (line: number, reason: string): never => {
    throw rowInvalid({ file, line: line + 1 }, reason);
  };
  const skipText = () => {
    while (at < lines.length && /^(>.*|# .*|\s*)$/.test(lines[at]!)) at++;
  };
  const expect = (pattern: RegExp, what: string): RegExpExecArray => {
    while (at < lines.length && lines[at]!.trim() === '') at++;
    const found = pattern.exec((lines[at] ?? '').trimEnd());
    if (!found)
      return refuse(at, `expected ${what}, found ${at < lines.length ? short(lines[at]!) : 'the end of the file'}.`);
    at++;
    return found;
  };
  const mark = expect(MARK, 'the first line of a review, as `srlm catalyst review` writes it');
  const decided: Decided[] = [];
  for (skipText(); at < lines.length; skipText()) {
    const start = at;
    const heading = expect(HEADING, 'a section such as ## 1 · "id"');
    const number = decided.length + 1;
    const wanted = catalysts[decided.length];
    if (!wanted) refuse(start, `there are only ${catalysts.length} catalysts.`);
    if (Number(heading[1]) !== number || JSON.parse(heading[2]!) !== oneLine(wanted!.id))
      refuse(
        start,
        `expected section ${number} of ${JSON.stringify(oneLine(wanted!.id))}; sections keep their order, and none is left out.`,
      );
    while (at < lines.length && /^(>.*|\s*)$/.test(lines[at]!)) at++;
    const decision = expect(DECISION, 'decision: keep, drop or edit')[1] as Decided['decision'];
    const skillsAt = at;
    const names = expect(SKILLS_LINE, 'skills: and names')[1]!
      .split(',')
      .map((name) => name.trim());
    const skills = names.filter((name) => name !== '');
    const fence = expect(FENCE, 'a line of tildes and "text", above the text')[1]!;
    const from = at;
    while (at < lines.length && lines[at]!.trimEnd() !== fence) at++;
    if (at === lines.length) refuse(from - 1, 'the text has no end: a line of the same tildes is missing.');
    const enriched = lines.slice(from, at).join('\n').trim();
    at++;
    if (decision === 'edit') {
      if (enriched === '') refuse(from, 'an edited text is not empty; write decision: drop to leave the catalyst out.');
      const unknown = skills.find((name) => skillOf(name) === null);
      if (unknown !== undefined) refuse(skillsAt, `${short(unknown)} is none of the eight skills.`);
    }
    decided.push({ decision, skills: skills.map((name) => skillOf(name) ?? name), enriched });
  }
  const next = catalysts[decided.length];
  if (next)
    refuse(
      lines.length - 1,
      `section ${decided.length + 1} of ${JSON.stringify(oneLine(next.id))} is missing; write decision: drop to leave a catalyst out.`,
    );
  return { sha256: mark[1]!, decided };
}

const short = (text: string): string => JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}...` : text);

/** The catalysts that stay, in their order. */
export function* reviewed(catalysts: readonly Catalyst[], { decided }: Review): Generator<Catalyst> {
  for (const [i, catalyst] of catalysts.entries()) {
    const { decision, skills, enriched } = decided[i]!;
    if (decision === 'keep') yield catalyst;
    if (decision === 'edit') yield { ...catalyst, skills, enriched };
  }
}
