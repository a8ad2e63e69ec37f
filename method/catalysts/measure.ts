/**
 * What is worth knowing of a set of catalysts, and what is wrong with it: counts by skill, lengths, and findings, each
 * with its worst examples. The rules are those by which `srlm catalyst build` picks, so that what it builds is accepted.
 * Memory: the grams of the set, not its texts. Pure.
 */
import { type Catalyst, GUARDS, SKILLS } from '../../contracts/rows.js';
import type { PromptTemplates } from '../../contracts/spec.js';
import { NearDuplicates, SAME } from './duplicates.js';
import { givesAway } from './given-away.js';
import { wordPrint, words } from './ngrams.js';
import { COPIES_TEXT, HOLDS_QUESTION, type Overlap, OverlapIndex } from './overlap.js';
import { guardOf } from './pick.js';
import { LEAST_SKILLS, MOST_SKILLS, skillOf } from './reply.js';

const WORST = 3;
const SHOWN_CHARS = 300;

export interface Example {
  id: string;
  /** In words: what it repeats, or by how much. */
  detail: string;
  /** The enriched text, cut. */
  text: string;
}
export interface Finding {
  what: string;
  catalysts: number;
  /** The set is not fit for use as it is. */
  mustFix: boolean;
  worst: Example[];
}
export interface Lengths {
  median: number;
  shortest: number;
  longest: number;
}
export interface Measured {
  catalysts: number;
  /** Catalysts that show the skill. */
  skills: Record<string, number>;
  withoutSkills: number;
  rationaleChars: Lengths;
  enrichedChars: Lengths;
  findings: Finding[];
}

/** What is found -> how it reads. Those that must be fixed come first. */
const MUST_FIX: Readonly<Record<string, string>> = {
  ...Object.fromEntries(GUARDS.map((guard) => [guard, `guard ${guard}`])),
  'not-longer': 'the enriched text is no longer than the short rationale',
  'answer-given-away': 'gives away the answer, which the short rationale does not',
  'same-question': 'asks what an earlier one asks',
  'near-duplicate': `repeats the enriched text of an earlier one (${SAME} of its 5-grams or more)`,
  'in-evaluation': `holds a question of the evaluation (${HOLDS_QUESTION} of its 8-grams or more)`,
};
const NOTES: Readonly<Record<string, string>> = {
  'unknown-skill': 'is tagged with a name that is none of the eight skills',
  'skill-count': `is tagged with fewer than ${LEAST_SKILLS} or more than ${MOST_SKILLS} skills`,
  'in-training': 'is of a question that is in the training data, too',
  'copied-training': `copies a row of the training data (${COPIES_TEXT} of its 8-grams or more)`,
};
const WORDS_OF = { ...MUST_FIX, ...NOTES };

interface Found {
  count: number;
  worst: (Example & { weight: number })[];
}

export class CatalystMeasures {
  private readonly near = new NearDuplicates();
  private readonly asked = new Map<string, string>();
  private readonly skills = new Map<string, number>(SKILLS.map((skill) => [skill, 0]));
  private readonly found = new Map<string, Found>();
  private readonly shown: Example[] = [];
  private readonly lengths = { rationale: [] as number[], enriched: [] as number[] };
  private withoutSkills = 0;
  private readonly training: OverlapIndex | null;
  private readonly evaluation: OverlapIndex | null;

  constructor(
    private readonly templates: PromptTemplates,
    { training, evaluation }: { training: boolean; evaluation: boolean },
  ) {
    this.training = training ? new OverlapIndex() : null;
    this.evaluation = evaluation ? new OverlapIndex() : null;
  }

  add(catalyst: Catalyst): void {
    const { id, instruction, rationale, enriched, answer } = catalyst;
    const example = { id, detail: '', text: enriched.slice(0, SHOWN_CHARS) };
    this.shown.push(this.training || this.evaluation ? example : { ...example, text: '' });
    this.lengths.rationale.push(rationale.length);
    this.lengths.enriched.push(enriched.length);
    this.addSkills(catalyst, example);
    const guard = guardOf(catalyst, this.templates);
    if (guard) this.finds(guard, example);
    if (enriched.length <= rationale.length)
      this.finds('not-longer', { ...example, detail: `${enriched.length} of ${rationale.length} characters` });
    if (givesAway(answer, rationale, enriched))
      this.finds('answer-given-away', { ...example, detail: `answer ${answer?.slice(0, 60)}` });
    const print = wordPrint(words(instruction));
    const before = this.asked.get(print);
    if (before !== undefined) this.finds('same-question', { ...example, detail: `as ${before}` });
    else this.asked.set(print, id);
    const same = this.near.find(enriched);
    if (same) this.finds('near-duplicate', { ...example, detail: `${shown(same.share)} as ${same.id}` }, same.share);
    this.near.add(id, enriched);
    this.training?.add(catalyst);
    this.evaluation?.add(catalyst);
  }

  private addSkills({ skills }: Catalyst, example: Example): void {
    if (skills.length === 0) this.withoutSkills++;
    else if (skills.length < LEAST_SKILLS || skills.length > MOST_SKILLS)
      this.finds('skill-count', { ...example, detail: `${skills.length}` });
    const unknown = skills.filter((name) => skillOf(name) === null);
    if (unknown.length > 0) this.finds('unknown-skill', { ...example, detail: unknown.join(', ').slice(0, 100) });
    for (const name of new Set(skills.map((one) => skillOf(one) ?? 'others')))
      this.skills.set(name, (this.skills.get(name) ?? 0) + 1);
  }

  /** A row of the training data, or of the evaluation. */
  compare(kind: 'training' | 'evaluation', row: { id: string; question: string; text: string }): void {
    this[kind]?.compare(row);
  }

  get measured(): Measured {
    this.addOverlaps(this.evaluation?.question, HOLDS_QUESTION, 'in-evaluation');
    this.addOverlaps(this.training?.question, HOLDS_QUESTION, 'in-training');
    this.addOverlaps(this.training?.text, COPIES_TEXT, 'copied-training');
    const findings = Object.keys(WORDS_OF).flatMap((name): Finding[] => {
      const found = this.found.get(name);
      if (!found) return [];
      const worst = found.worst.map(({ weight: _, ...example }) => example);
      return [{ what: WORDS_OF[name]!, catalysts: found.count, mustFix: Object.hasOwn(MUST_FIX, name), worst }];
    });
    return {
      catalysts: this.shown.length,
      skills: Object.fromEntries(this.skills),
      withoutSkills: this.withoutSkills,
      rationaleChars: lengthsOf(this.lengths.rationale),
      enrichedChars: lengthsOf(this.lengths.enriched),
      findings,
    };
  }

  private addOverlaps(most: readonly (Overlap | null)[] | undefined, from: number, name: string): void {
    for (const [at, overlap] of (most ?? []).entries())
      if (overlap && overlap.share >= from)
        this.finds(
          name,
          { ...this.shown[at]!, detail: `${shown(overlap.share)} of row ${overlap.row}` },
          overlap.share,
        );
  }

  /** Keeps the worst ones; of equals, the first. */
  private finds(name: string, example: Example, weight = 1): void {
    const found = this.found.get(name) ?? { count: 0, worst: [] };
    found.count++;
    found.worst = [...found.worst, { ...example, weight }].sort((a, b) => b.weight - a.weight).slice(0, WORST);
    this.found.set(name, found);
  }
}

const shown = (share: number) => share.toFixed(2);

function lengthsOf(lengths: readonly number[]): Lengths {
  const sorted = [...lengths].sort((a, b) => a - b);
  return {
    median: sorted[Math.floor(sorted.length / 2)] ?? 0,
    shortest: sorted[0] ?? 0,
    longest: sorted.at(-1) ?? 0,
  };
}
