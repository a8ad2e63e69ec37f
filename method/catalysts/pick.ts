/**
 * Which replies become catalysts [ours]: those of the asked form that pass the guards, are longer than the short
 * rationale, do not give away the answer, repeat no catalyst that is kept, and show no skill that the set has enough of.
 * What is decided depends on the replies before it, in their order. Pure; never throws.
 */
import type { Candidate, Catalyst, Example, Rejection, Skill } from '../../contracts/rows.js';
import type { PromptTemplates } from '../../contracts/spec.js';
import { guardsFor } from '../guards/index.js';
import { NearDuplicates } from './duplicates.js';
import { givesAway } from './given-away.js';
import { wordPrint, words } from './ngrams.js';
import { parseReply } from './reply.js';

/** Enters the keys of catalysts: raised when any file of this folder decides differently. */
export const VERSION = 1;

/** The same row may give another reply, asked with another seed. */
const FINAL: readonly Rejection[] = ['no-rationale', 'duplicate', 'surplus'];
export const isWorthAnother = (why: Rejection): boolean => !FINAL.includes(why);

type Outcome = { catalyst: Catalyst; why: null } | { why: Rejection; detail: string | null };
type Sampled = Pick<Candidate, 'text' | 'finish' | 'reason'>;

export class Picker {
  private readonly skills = new Map<Skill, number>();
  private readonly near = new NearDuplicates();
  private readonly asked = new Map<string, string>();
  private readonly mostOfSkill: number;
  kept = 0;

  constructor(
    private readonly count: number,
    maxSkillShare: number,
    private readonly templates: PromptTemplates,
  ) {
    this.mostOfSkill = Math.ceil(maxSkillShare * count);
  }

  /** A catalyst of an earlier wave, or one that has just been taken. */
  keep({ id, instruction, enriched, skills }: Catalyst): void {
    this.kept++;
    for (const skill of skills as Skill[]) this.skills.set(skill, (this.skills.get(skill) ?? 0) + 1);
    this.near.add(id, enriched);
    this.asked.set(wordPrint(words(instruction)), id);
  }

  get skillCounts(): Partial<Record<Skill, number>> {
    return Object.fromEntries([...this.skills].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** `reply` undefined: the row was not asked. A catalyst is not kept yet. */
  judge(example: Example, reply: Sampled | undefined): Outcome {
    const rejected = (why: Rejection, detail: string | null = null): Outcome => ({ why, detail });
    if (!reply) return rejected('no-rationale');
    const { text, finish, reason } = reply;
    if (finish === 'refused' || finish === 'filtered') return rejected(finish, reason);
    if (finish === 'length') return rejected('cut', reason);
    if (text.trim() === '') return rejected('empty', reason);
    const parsed = parseReply(text);
    if (parsed.fault) return rejected(parsed.fault, parsed.detail);
    const { enriched, skills } = parsed;
    const rationale = example.original ?? '';
    const { id, instruction, answer } = example;
    const guard = guardOf({ instruction, rationale, enriched, answer }, this.templates);
    if (guard) return rejected(guard);
    if (enriched.length <= rationale.length) return rejected('not-longer');
    if (givesAway(answer, rationale, enriched)) return rejected('answer-given-away');
    const same = this.asked.get(wordPrint(words(instruction))) ?? this.near.find(enriched)?.id;
    if (same !== undefined) return rejected('duplicate', same.slice(0, 200));
    const full = skills.find((skill) => (this.skills.get(skill) ?? 0) >= this.mostOfSkill);
    if (this.kept >= this.count || full) return rejected('surplus', full ?? null);
    return { catalyst: { id, instruction, rationale, enriched, skills, answer }, why: null };
  }
}

/** The guards of the method, on an enriched rationale as if it were a candidate for its row. */
export function guardOf(
  { instruction, rationale, enriched, answer }: Omit<Catalyst, 'id' | 'skills'>,
  templates: PromptTemplates,
): ReturnType<ReturnType<typeof guardsFor>> {
  const example: Example = {
    ...{ id: '-', instruction, turns: null, original: rationale, rationale, answer: answer ?? '', origin: null },
  };
  return guardsFor({ example, templates, enrichFrom: 'original' })({ rationale: enriched, truncated: false });
}
