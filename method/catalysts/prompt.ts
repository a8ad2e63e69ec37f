/**
 * What a teacher is asked for one row [ours]: the template of the spec with the eight skills, a line each, and the form
 * of the reply. Two skills are named as the ones to prefer, drawn for each row and wave, so that a set is balanced without
 * replies that are thrown away. The answer is never shown. Pure.
 */
import { type Example, type Message, SKILLS, type Skill } from '../../contracts/rows.js';
import { fill } from '../prompts.js';
import { random, rowSeed } from '../random.js';
import { FORMAT } from './reply.js';

/** Enters the keys of the replies. */
export const VERSION = 1;

export const DEFINITIONS: Readonly<Record<Skill, string>> = {
  reflection: 'stop at a first idea or an assumption, question it, and keep or correct it',
  decomposition: 'divide the task into parts, and treat one after the other',
  detail: 'add the particulars on which the result depends',
  summary: 'draw the points together in a sentence, in the middle or at the end',
  'alternative-thinking': 'try another way, reading or option, and compare it',
  'backward-thinking': 'start from the goal or the result, and go back to what must come before',
  analogy: 'explain a step by something familiar that works the same way',
  checking: 'test the result by another route, an estimate, or the text of the question',
};

export function preferredSkills(seed: number, wave: number, id: string): [Skill, Skill] {
  const draw = random(rowSeed(seed, wave, 'skills', id));
  const first = Math.floor(draw() * SKILLS.length);
  const second = (first + 1 + Math.floor(draw() * (SKILLS.length - 1))) % SKILLS.length;
  return [SKILLS[first]!, SKILLS[second]!];
}

/** `texts`: of the spec. null: the row has no short rationale. */
export function catalystMessages(
  { system, prompt }: { system: string | null; prompt: string | null },
  { id, instruction, original }: Pick<Example, 'id' | 'instruction' | 'original'>,
  seed: number,
  wave: number,
): Message[] | null {
  if (!original) return null;
  const [one, other] = preferredSkills(seed, wave, id);
  const list = SKILLS.map((skill) => `- ${skill}: ${DEFINITIONS[skill]}`).join('\n');
  const skills = `${list}\n\nUse two to four of them, those that help most here; where they fit, ${one} and ${other} among them.`;
  const content = fill(prompt ?? '', { instruction, rationale: original, skills, format: FORMAT });
  return [...(system === null ? [] : [{ role: 'system' as const, content: system }]), { role: 'user', content }];
}
