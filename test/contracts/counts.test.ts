import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addCounts, countsText, countTexts, failedTexts, isWhole } from '../../contracts/counts.js';
import { jsonBytes } from '../../contracts/refs.js';
import { Finish } from '../../contracts/rows.js';

type Sampled = Parameters<typeof countTexts>[0][number];

const text = (id: string, finish: Finish = 'stop', words = 'So.', reason: string | null = null): Sampled => ({
  ...{ id, finish, text: words, reason },
});
const none = (id: string, finish: Finish, reason: string | null = null) => text(id, finish, '', reason);

describe('the counts of a sampling step', () => {
  it('tell rows, texts, and why some did not come', () => {
    const counts = countTexts(
      [
        ...[text('a'), text('a', 'length'), text('b'), none('b', 'stop')],
        ...[none('c', 'refused', 'too long'), none('c', 'filtered', 'content_filter'), none('d', 'length')],
        ...[none('d', 'other', 'no choices'), text('e', 'filtered', 'Be', 'content_filter')],
      ],
      6,
      48,
    );
    expect(counts).toEqual({
      ...{ of: 'texts', rows: 6, withText: 3, asked: 9, texts: 4, empty: 2, cut: 2, filtered: 2, refused: 1 },
      ...{ suspect: 1, maxTokens: 48 },
      reasons: [
        { reason: 'content_filter', count: 2 },
        { reason: 'no choices', count: 1 },
        { reason: 'too long', count: 1 },
      ],
    });
    // What the model itself left empty is no failure.
    expect(failedTexts(counts)).toBe(4);
    expect(countsText(counts)).toBe(
      '3 of 6 rows have texts; of 9 texts, 2 cut at maxTokens 48, 2 empty, 2 filtered, 1 refused (content_filter 2; no choices 1; too long 1)',
    );
  });

  it('say nothing more where all came', () => {
    const counts = countTexts([text('a'), text('b')], 2, 48);
    expect(isWhole(counts)).toBe(true);
    expect(countsText(counts)).toBe('2 of 2 rows have texts');
  });

  const sampled = fc.record({
    id: fc.constantFrom('a', 'b', 'c', 'd'),
    text: fc.constantFrom('', ' ', 'So.'),
    finish: fc.constantFrom(...Finish.options),
    reason: fc.option(fc.string({ unit: 'binary', maxLength: 100 })),
  });

  it('are the same however the rows are divided into chunks, and small', () => {
    fc.assert(
      fc.property(fc.array(fc.array(sampled)), (chunks) => {
        // A row is in one chunk.
        const rows = chunks.map((chunk, i) => chunk.map((one) => ({ ...one, id: `${i} ${one.id}` })));
        const parts = rows.map((chunk) => countTexts(chunk, chunk.length, 48));
        const whole = addCounts([countTexts(rows.flat(), rows.flat().length, 48)]);
        const sum = addCounts(parts);
        if (sum === null) return chunks.length === 0;
        expect({ ...sum, reasons: [] }).toEqual({ ...whole, reasons: [] });
        const counted = (counts: typeof sum) => (counts.of === 'texts' ? counts.reasons : []);
        const total = counted(sum).reduce((all, { count }) => all + count, 0);
        expect(total).toBe(rows.flat().filter(({ reason }) => reason !== null).length);
        expect(counted(sum).length).toBeLessThanOrEqual(4);
        expect(jsonBytes(sum)).toBeLessThan(800);
        return true;
      }),
    );
  });
});

it('every kind of counts has its sentence', () => {
  expect(countsText({ of: 'scores', candidates: 5000, without: 12 })).toBe(
    "12 of 5,000 rationales have no score: longer than the model's context",
  );
  expect(countsText({ of: 'guards', candidates: 128, guards: { truncated: 127 } })).toBe(
    '1 of 128 candidates pass the guards; kept out: 127 truncated',
  );
  expect(countsText({ of: 'rationales', rows: 10, without: 3 })).toBe('7 of 10 missing rationales were written');
  expect(countsText({ of: 'training', rows: 100, leftOut: 2, cut: 1 })).toBe(
    'trained on 98 of 100 rows; 2 left out, 1 cut: longer than training.maxLength',
  );
});
