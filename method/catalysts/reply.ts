/**
 * The form of a teacher's reply: a line that names two to four skills, a line "Reasoning:", and the text. It is read
 * strictly, apart from what chat models add around any form: a code fence, bold or heading marks. Pure; never throws; the
 * time is proportional to the length of the text.
 */
import { type FormFault, SKILLS, type Skill } from '../../contracts/rows.js';

export const LEAST_SKILLS = 2;
export const MOST_SKILLS = 4;

export const FORMAT = `Write your reply in exactly this form, and nothing before or after it:
Skills: two to four names from the list above, with commas between them
Reasoning:
the longer reasoning`;

export type Reply =
  | { enriched: string; skills: Skill[]; fault: null }
  | { fault: FormFault; detail: string | null; enriched?: never };

const FENCE = /^```[^\n]*\n((?:(?!```)[\s\S])*)```$/;
const label = (name: string) => new RegExp(`^[*#>\\s]{0,12}${name}[*\\s]{0,6}:[*\\s]{0,6}`, 'i');
const SKILLS_LABEL = label('skills');
const REASONING_LABEL = label('reasoning');
const ANSWER_LABEL = label('(?:the )?(?:final )?answer');
const DETAIL_CHARS = 60;

export function parseReply(text: string): Reply {
  const trimmed = text.trim();
  const lines = (FENCE.exec(trimmed)?.[1]?.trim() ?? trimmed).split(/\r?\n/);
  const first = lines.shift() ?? '';
  if (!SKILLS_LABEL.test(first)) return { fault: 'no-skills-line', detail: null };
  const names = first
    .replace(SKILLS_LABEL, '')
    .split(/[,;]|\band\b/)
    .map((name) => name.replace(/^[\s*_`"'[(]+|[\s*_`"'\]).]+$/g, ''))
    .filter((name) => name !== '');
  const skills: Skill[] = [];
  for (const name of names) {
    const skill = skillOf(name);
    if (skill === null) return { fault: 'unknown-skill', detail: name.slice(0, DETAIL_CHARS) };
    if (!skills.includes(skill)) skills.push(skill);
  }
  if (skills.length < LEAST_SKILLS) return { fault: 'too-few-skills', detail: null };
  if (skills.length > MOST_SKILLS) return { fault: 'too-many-skills', detail: null };
  const at = lines.findIndex((line) => line.trim() !== '');
  if (at < 0 || !REASONING_LABEL.test(lines[at]!)) return { fault: 'no-reasoning-line', detail: null };
  const rest = [lines[at]!.replace(REASONING_LABEL, ''), ...lines.slice(at + 1)];
  if (rest.some((line) => ANSWER_LABEL.test(line))) return { fault: 'answer-line', detail: null };
  return { enriched: rest.join('\n').trim(), skills, fault: null };
}

/** A name as people write it: `Alternative thinking`, `alternative_thinking`. null: it is none of the eight. */
export function skillOf(name: string): Skill | null {
  const plain = name
    .toLowerCase()
    .trim()
    .replace(/[\s_-]+/g, '-');
  return SKILLS.find((skill) => skill === plain || skill.replace('-thinking', '') === plain) ?? null;
}
