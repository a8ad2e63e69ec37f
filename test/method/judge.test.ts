import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PromptTemplates, Selection } from '../../contracts/spec.js';
import { compared, judgePrompt, readPreference, verdictsOf } from '../../method/judge.js';
import { type CandidateRow, canCompare, choose } from '../../method/selectors/index.js';

describe('the verdict of a reply', () => {
  it.each([
    ['A', 'first'],
    [' b.', 'second'],
    ['**T**', 'tie'],
    ['It is a tie.', 'tie'],
    ['Verdict: B', 'second'],
    ['A is better, because it checks the sum.', 'first'],
    ['The first one skips a step.\n\nSo the better one is B.', 'second'],
    ['A good piece of reasoning names its steps, hence B', 'second'],
  ])('%j is %s', (reply, preference) => expect(readPreference(reply)).toBe(preference));

  it.each(['', 'Both are fine.', 'A good piece of reasoning.', 'A: right.\nB: wrong', 'A. No, B', 'AB', 'C'])(
    '%j is none, rather than a guess',
    (reply) => expect(readPreference(reply)).toBeNull(),
  );

  it('never throws, whatever a model writes', () =>
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (reply) =>
        [null, 'first', 'second', 'tie'].includes(readPreference(reply)),
      ),
    ));
});

it('compares sound candidates that differ from the incumbent, equal ones once', () => {
  const candidate = (k: number, rationale: string, guard: 'truncated' | null = null) => ({ k, rationale, guard });
  const candidates = [candidate(0, 'x'), candidate(1, 'r'), candidate(2, 'y', 'truncated'), candidate(3, 'x')];
  expect(compared('r', candidates)).toEqual([{ rationale: 'x', ks: [0, 3] }]);
});

it('a text of a model that holds the holes of the template is shown as it is', () => {
  const prompt = judgePrompt(PromptTemplates.parse({}), { instruction: 'q', answer: 'y' }, ['{second}', 'two']);
  expect(prompt).toContain('A: {second}');
});

describe('verdicts', () => {
  it('a candidate that wins in both orders has 1, one whose place wins has a half, and both are counted', () => {
    const { rows, counts } = verdictsOf('row', [
      { ks: [0, 3], replies: ['A', 'B'] },
      { ks: [1], replies: ['A', 'A'] },
      { ks: [2], replies: ['T', 'A'] },
      { ks: [4], replies: ['A', 'hm'] },
    ]);
    expect(rows.map(({ k, score }) => [k, score])).toEqual([
      ...[[-1, 0.5] as const, [0, 1] as const, [3, 1] as const, [1, 0.5] as const, [2, 0.25] as const],
    ]);
    expect(counts).toMatchObject({ comparisons: 4, agree: 1, first: 5, second: 1, ties: 1, unread: 1 });
  });

  it('are turned round when both texts are', () =>
    fc.assert(
      fc.property(fc.constantFrom('A', 'B', 'T'), fc.constantFrom('A', 'B', 'T'), (one, other) => {
        const scoreOf = (replies: [string, string]) => verdictsOf('row', [{ ks: [0], replies }]).rows[1]!.score;
        expect(scoreOf([one, other])).toBe(1 - scoreOf([other, one]));
      }),
    ));
});

describe('the selector judge', () => {
  const line = (k: number, judge: number | null): CandidateRow => ({ k, chars: 5, guard: null, scores: { judge } });
  const selection = (more = {}) => Selection.parse({ selector: 'judge', judge: { engine: 'teacher' }, ...more });

  it('takes the first of those that win most, and none that only ties', () => {
    expect(choose([line(-1, 0.5), line(0, 0.75), line(1, 1), line(2, 1)], selection(), 's')).toBe(1);
    expect(choose([line(-1, 0.5), line(0, 0.5), line(1, null)], selection(), 's')).toBe(-1);
    expect(choose([line(-1, 0.5), line(0, 0.75)], selection({ minGain: 0.25 }), 's')).toBe(-1);
  });
  it('compares nothing in a table without verdicts', () =>
    expect(canCompare([{ k: -1, chars: 1, guard: null, scores: {} }, line(0, null)], 'judge')).toBe(false));
  it('is refused without a judge', () =>
    expect(Selection.safeParse({ selector: 'judge' }).error?.issues[0]).toMatchObject({ path: ['judge'] }));
});
