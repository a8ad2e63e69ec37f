/** Pure parts of building, checking and reviewing catalysts. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Catalyst, FORM_FAULTS, SKILLS } from '../../contracts/rows.js';
import { PromptTemplates } from '../../contracts/spec.js';
import { StratifiedOrder } from '../../method/catalysts/draw.js';
import { NearDuplicates } from '../../method/catalysts/duplicates.js';
import { givesAway } from '../../method/catalysts/given-away.js';
import { CatalystMeasures } from '../../method/catalysts/measure.js';
import { grams, words } from '../../method/catalysts/ngrams.js';
import { Picker } from '../../method/catalysts/pick.js';
import { preferredSkills } from '../../method/catalysts/prompt.js';
import { parseReply } from '../../method/catalysts/reply.js';
import { readReview, reviewed, reviewText } from '../../method/catalysts/review.js';
import { nextWave } from '../../method/catalysts/waves.js';
import { exampleOf } from './catalyst-corpus.js';

const TEMPLATES = PromptTemplates.parse({});
const catalystOf = (id: string, changes: Partial<Catalyst> = {}): Catalyst => ({
  ...{ id, instruction: `What is ${id}?`, rationale: 'Add the two.', answer: null, skills: ['detail', 'checking'] },
  ...{ enriched: `Take ${id} apart first, and look at each part; then put ${id} together and compare.`, ...changes },
});
/** Words that no other text has. */
const own = (name: string, count = 40) => Array.from({ length: count }, (_, i) => `${name}${i}`).join(' ');

describe('a reply', () => {
  it('is read with what chat models put around any form', () => {
    const wanted = { enriched: 'So it is.\n\nIndeed.', skills: ['analogy', 'alternative-thinking'], fault: null };
    for (const text of [
      'Skills: analogy, alternative-thinking\nReasoning:\nSo it is.\n\nIndeed.',
      '**Skills:** Analogy; Alternative thinking\n\n**Reasoning:**\nSo it is.\n\nIndeed.\n',
      '```text\nskills: [analogy] and alternative_thinking\r\nReasoning: So it is.\n\nIndeed.\n```',
    ])
      expect(parseReply(text)).toEqual(wanted);
  });

  it.each([
    ['So it is.', 'no-skills-line'],
    ['Skills: detail, wit\nReasoning: So.', 'unknown-skill'],
    ['Skills: detail, detail\nReasoning: So.', 'too-few-skills'],
    [`Skills: ${SKILLS.slice(0, 5).join(', ')}\nReasoning: So.`, 'too-many-skills'],
    ['Skills: detail, checking\nSo it is.', 'no-reasoning-line'],
    ['Skills: detail, checking\nReasoning: So.\n**Final answer:** 5', 'answer-line'],
  ])('%j is refused as %s', (text, fault) => expect(parseReply(text).fault).toBe(fault));

  it('has every fault tested above', () => expect(FORM_FAULTS).toHaveLength(6));

  it('of any kind is read without a throw', () =>
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => void parseReply(`Skills: detail, summary\n${text}`)),
    ));
});

describe('an answer is given away', () => {
  it.each([
    ['42', 'Six times seven.', 'Six times seven is 42, as ten times four is near.', true],
    ['42', 'That makes 42.', 'That makes 42, as ten times four is near.', false],
    ['42', 'Six times seven.', 'It is near 420, and not 4.', false],
    ['B', 'Plants take it up.', 'A plant needs it; consider B as well as A.', false],
    ['B', 'Plants take it up.', 'A plant needs it, so the answer is B.', true],
    ['New York', 'The largest city.', 'The largest is new  york.', true],
    [null, 'Add.', 'Add both of them.', false],
    ['...', 'Add.', 'Add both of them ...', false],
  ])('%j after %j in %j: %s', (answer, rationale, enriched, is) =>
    expect(givesAway(answer, rationale, enriched)).toBe(is),
  );

  it('of many words when most of it occurs', () => {
    const answer = own('a', 12);
    expect(givesAway(answer, 'Add.', `First, ${answer}.`)).toBe(true);
    expect(givesAway(answer, 'Add.', `First, ${own('a', 6)} and others.`)).toBe(false);
  });
});

describe('near-duplicates', () => {
  it('agree with the share of 5-grams by brute force, for texts that are not long', () => {
    const text = fc.array(fc.constantFrom('a', 'b', 'c'), { minLength: 5, maxLength: 40 }).map((all) => all.join(' '));
    fc.assert(
      fc.property(text, text, (one, other) => {
        const index = new NearDuplicates();
        index.add('one', one);
        const [a, b] = [grams(words(one), 5), grams(words(other), 5)];
        const both = [...a].filter((gram) => b.has(gram)).length;
        const share = both / (a.size + b.size - both);
        const found = index.find(other)?.share ?? null;
        // Equal words are found as such, however few grams they have.
        expect(found).toBe(share >= 0.6 || one === other ? (one === other ? 1 : share) : null);
      }),
    );
  });

  it('are found among many, with other case and punctuation, and in long texts', () => {
    const index = new NearDuplicates();
    for (let i = 0; i < 200; i++) index.add(`${i}`, own(`t${i}w`, 600));
    expect(index.find(own('T77W', 600).replaceAll(' ', ', '))).toEqual({ id: '77', share: 1 });
    expect(index.find(`${own('t78w', 590)} ${own('new', 10)}`)?.id).toBe('78');
    expect(index.find(`${own('t79w', 300)} ${own('new', 300)}`)).toBeNull();
  });
});

describe('rows are drawn', () => {
  it('each once, in an order of which every beginning has the sources in proportion', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1000 }), fc.integer({ min: 20, max: 80 }), (seed, first) => {
        const order = new StratifiedOrder(seed);
        for (let i = 0; i < 100; i++) order.add(exampleOf(`${i}`, { source: i % 4 === 0 ? 'rare' : 'common' }));
        const all = order.slice(0, 1000);
        expect([...all].sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i));
        expect([...order.slice(0, first), ...order.slice(first, 100)]).toEqual(all);
        const rare = all.slice(0, first).filter((row) => row % 4 === 0).length;
        expect(Math.abs(rare - first / 4)).toBeLessThanOrEqual(1);
      }),
      { numRuns: 20 },
    );
  });
});

describe('waves', () => {
  it('never ask more than is left of the requests, and always end', () => {
    const settings = fc.record({
      count: fc.integer({ min: 1, max: 5000 }),
      maxRequests: fc.integer({ min: 1, max: 9000 }),
    });
    fc.assert(
      fc.property(settings, fc.float({ min: 0, max: 1, noNaN: true }), (bounds, share) => {
        const so = { waves: 0, counts: { kept: 0, asked: 0 }, again: 0, noneLeft: false };
        for (; ; so.waves++) {
          const next = nextWave(so, bounds);
          if (next.end !== null) break;
          const asked = next.again + next.rows;
          expect(asked).toBeGreaterThan(0);
          so.counts.asked += asked;
          so.counts.kept = Math.min(bounds.count, so.counts.kept + Math.floor(share * asked));
          so.again = Math.floor((1 - share) * asked);
        }
        expect(so.counts.asked).toBeLessThanOrEqual(bounds.maxRequests);
        expect(so.waves).toBeLessThanOrEqual(40);
      }),
    );
  });
});

describe('picking', () => {
  const said = (skills: string, text: string) => ({
    ...{ text: `Skills: ${skills}\nReasoning: ${text}`, finish: 'stop' as const, reason: null },
  });

  it('lets no skill be shown by more than its share, and counts the others as surplus', () => {
    const picker = new Picker(8, 0.5, TEMPLATES);
    const outcomes = Array.from({ length: 10 }, (_, i) => {
      const skills = i < 6 ? 'detail, checking' : 'summary, analogy';
      const outcome = picker.judge(exampleOf(`${i}`, { answer: 'yes' }), said(skills, own(`w${i}x`)));
      if (outcome.why === null) picker.keep(outcome.catalyst);
      return outcome.why;
    });
    expect(outcomes).toEqual([...Array(4).fill(null), 'surplus', 'surplus', ...Array(4).fill(null)]);
    expect(picker.skillCounts).toEqual({ analogy: 4, checking: 4, detail: 4, summary: 4 });
  });

  it('keeps what `catalyst check` accepts', () => {
    const part = fc.constantFrom('Add the two.', '38', 'Answer: 38', own('a'), own('b'), own('c'), 'What is 1?', ' \n');
    const replies = fc.array(
      fc.array(part, { maxLength: 4 }).map((parts) => parts.join(' ')),
      { maxLength: 12 },
    );
    fc.assert(
      fc.property(replies, (texts) => {
        const picker = new Picker(12, 1, TEMPLATES);
        const measures = new CatalystMeasures(TEMPLATES, { training: false, evaluation: false });
        for (const [i, text] of texts.entries()) {
          const outcome = picker.judge(exampleOf(`${i % 9}`), said('detail, checking', text));
          if (outcome.why !== null) continue;
          picker.keep(outcome.catalyst);
          measures.add(Catalyst.parse(outcome.catalyst));
        }
        expect(measures.measured.findings.filter(({ mustFix }) => mustFix)).toEqual([]);
      }),
    );
  });

  it('prefers each skill about as often, and others in another wave', () => {
    const ids = Array.from({ length: 800 }, (_, i) => `row ${i}`);
    const all = ids.flatMap((id) => preferredSkills(0, 1, id));
    for (const skill of SKILLS) expect(all.filter((one) => one === skill).length).toBeGreaterThan(150);
    expect(ids.some((id) => `${preferredSkills(0, 1, id)}` !== `${preferredSkills(0, 2, id)}`)).toBe(true);
  });
});

describe('a set is checked', () => {
  const found = (catalysts: Catalyst[], compare: (measures: CatalystMeasures) => void = () => {}) => {
    const measures = new CatalystMeasures(TEMPLATES, { training: true, evaluation: true });
    for (const one of catalysts) measures.add(one);
    compare(measures);
    return measures.measured.findings.map(({ what, catalysts: count, mustFix, worst }) => ({
      ...{ what: what.slice(0, 24), count, mustFix, first: worst[0]?.id },
    }));
  };

  it('for each thing that must be fixed, with the worst example', () => {
    const long = own('e');
    expect(
      found([
        catalystOf('a', { enriched: long }),
        catalystOf('b', { enriched: `${long} more` }),
        catalystOf('c', { enriched: 'Add.' }),
        catalystOf('d', { answer: '38', enriched: `${own('d')} is 38` }),
        catalystOf('e', { instruction: 'What is a?', enriched: own('f') }),
      ]),
    ).toEqual(
      [
        { what: 'the enriched text is no l', count: 1, mustFix: true, first: 'c' },
        { what: 'gives away the answer, w', count: 1, mustFix: true, first: 'd' },
        { what: 'asks what an earlier one', count: 1, mustFix: true, first: 'e' },
        { what: 'repeats the enriched tex', count: 1, mustFix: true, first: 'b' },
      ].map((one) => ({ ...one, what: one.what.slice(0, 24) })),
    );
  });

  it('against training and evaluation data', () => {
    const asked = own('q', 20);
    const text = own('t', 60);
    const catalysts = [catalystOf('a', { instruction: asked }), catalystOf('b', { enriched: text })];
    expect(
      found(catalysts, (measures) => {
        measures.compare('evaluation', { id: 'e1', question: `Now: ${asked}!`, text: '' });
        measures.compare('training', { id: 't1', question: own('other', 20), text: `${text} so` });
        measures.compare('training', { id: 't2', question: own('other', 9), text: own('o') });
      }),
    ).toEqual([
      { what: 'holds a question of the ', count: 1, mustFix: true, first: 'a' },
      { what: 'copies a row of the trai', count: 1, mustFix: false, first: 'b' },
    ]);
  });
});

describe('a review', () => {
  const SHA = 'a'.repeat(64);
  const text = fc.string({
    unit: fc.constantFrom('a', ' ', '\n', '~', '#', '>', '`', 'decision: drop', '"', '\\', '語', '<!--'),
    minLength: 1,
  });
  const catalysts = fc
    .array(fc.record({ instruction: text, rationale: text, enriched: text, id: text }), { maxLength: 5 })
    .map((all) => all.map((one, i) => catalystOf(`${i}`, { ...one, id: `${one.id}${i}` })));

  it('that nobody changed keeps every catalyst, whatever it holds', () =>
    fc.assert(
      fc.property(catalysts, (all) => {
        const lines = [...reviewText('FILE', SHA, all)].join('\n');
        expect([...reviewed(all, readReview('R', lines, all))]).toEqual(all);
      }),
    ));

  const two = [catalystOf('a'), catalystOf('b')];
  const lines = [...reviewText('FILE', SHA, two)].join('\n');
  const second = lines.lastIndexOf('decision: keep');
  const withSecond = (by: string) => lines.slice(0, second) + by + lines.slice(second + 'decision: keep'.length);

  it('drops and edits', () => {
    expect([...reviewed(two, readReview('R', withSecond('decision: drop'), two))]).toEqual([two[0]]);
    const edited = withSecond('decision: edit')
      .replace('Take b apart', 'Divide b')
      .replace(/skills: .*$/m, 'skills: summary, analogy');
    const [, b] = [...reviewed(two, readReview('R', edited, two))];
    expect(b).toEqual({ ...two[1], enriched: two[1]!.enriched.replace('Take b apart', 'Divide b') });
  });

  it.each([
    [
      'a decision that is none',
      withSecond('decision: dorp'),
      /^R:\d+: expected decision: keep, drop or edit, found "decision: dorp"/,
    ],
    ['a section that is left out', lines.slice(0, lines.indexOf('## 2')), /^R:\d+: section 2 of "b" is missing/],
    ['sections in another order', lines.replace('## 1 · "a"', '## 1 · "b"'), /^R:\d+: expected section 1 of "a"/],
    ['a fence without an end', lines.slice(0, -3), /^R:\d+: the text has no end/],
    [
      'text where none belongs',
      withSecond('I like it\ndecision: keep'),
      /^R:\d+: expected decision: .* found "I like it"/,
    ],
    [
      'an edited text that is empty',
      withSecond('decision: edit').replace(/^Take b.*$/m, ''),
      /^R:\d+: an edited text is not empty/,
    ],
    [
      'a skill that is none',
      withSecond('decision: edit').replace(/skills: .*(?=\n~~~text\nTake b)/, 'skills: wit'),
      /^R:\d+: "wit" is none of the eight skills/,
    ],
    ['another file', '# Notes', /^R:1: expected the first line of a review/],
  ])('is refused by line for %s', (_, changed, says) => expect(() => readReview('R', changed, two)).toThrow(says));
});
