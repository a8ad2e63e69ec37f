import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { clip, columns, pad, table, wrap } from '../../text/columns.js';
import { duration, percent, printable, rate } from '../../text/text.js';

const FAMILY = '👩‍👩‍👧';
const messages = fc
  .string({
    unit: fc.oneof(
      fc.constantFrom('a', ' ', '日', FAMILY, 'e\u0301', '🇩🇪', '☎️', '한', '\u200b'),
      fc.string({ unit: 'grapheme', minLength: 1, maxLength: 1 }),
    ),
  })
  .map(printable);

describe('columns', () => {
  it('a wide letter or an emoji takes two, whatever it is composed of, and a mark on a letter none', () => {
    expect(['日本', 'e\u0301🙂', FAMILY, '🇩🇪', '●✓█…'].map(columns)).toEqual([4, 3, 2, 2, 4]);
  });
});

describe('clip', () => {
  it('cuts at whole letters and ends in an ellipsis', () => {
    expect([clip('日本語', 5), clip('日本語', 6), clip('日a', 2), clip('abc', 1), clip('abc', 0)]).toEqual([
      ...['日本…', '日本語', '…', '…', ''],
    ]);
    expect(clip(FAMILY.repeat(3), 5)).toBe(`${FAMILY}${FAMILY}…`);
  });
  it('never gives more columns than there are, and changes nothing that fits', () =>
    fc.assert(
      fc.property(messages, fc.integer({ min: 0, max: 20 }), (text, width) => {
        const clipped = clip(text, width);
        expect(columns(clipped)).toBeLessThanOrEqual(width);
        if (columns(text) <= width) expect(clipped).toBe(text);
      }),
    ));
});

describe('wrap', () => {
  it('breaks between words, and within a word that is longer than a line', () => {
    expect(wrap('one two abcdefghijkl', 8)).toEqual(['one two', 'abcdefgh', 'ijkl']);
    expect(wrap(FAMILY.repeat(5), 8)).toEqual([FAMILY.repeat(4), FAMILY]);
    expect(wrap('abcdefghij', 3)).toEqual(['abcdefgh', 'ij']);
    expect(wrap('', 8)).toEqual([]);
  });
  it('loses no letter, and no line is wider than the terminal', () =>
    fc.assert(
      fc.property(messages, fc.integer({ min: 8, max: 20 }), (text, width) => {
        const lines = wrap(text, width);
        for (const line of lines) expect(columns(line)).toBeLessThanOrEqual(width);
        const letters = (shown: string) => shown.normalize().replace(/\s/g, '');
        expect(letters(lines.join(''))).toBe(letters(text));
      }),
    ));
});

describe('table', () => {
  it('aligns numbers to the right, and texts by columns of the terminal', () => {
    expect(
      table(
        ['name', 'rows'],
        [
          ['a', '1'],
          [`${FAMILY}日b`, '100'],
        ],
      ),
    ).toEqual(['name   rows', 'a         1', `${FAMILY}日b   100`]);
  });
  it('aligns a column with one text to the left, and a missing cell is blank', () => {
    expect(table(['a', 'b'], [['1', 'x'], ['22']])).toEqual([' a  b', ' 1  x', '22']);
    expect(table(['score'], [['-'], ['61.4 %']])).toEqual(['score', '-', '61.4 %']);
  });
});

describe('numbers', () => {
  it('durations have two units at most', () => {
    const shown = [0.04, 1, 9.96, 41.4, 59.7, 60, 200, 599.6, 860, 3600, 7500, 273_600].map(duration);
    expect(shown).toEqual([
      ...['0 s', '1 s', '10 s', '41 s', '1 min', '1 min', '3 min 20 s', '10 min', '14 min'],
      ...['1 h', '2 h 5 min', '3 d 4 h'],
    ]);
  });
  it('rates have the digits that matter', () => {
    expect([0.031, 0.5, 0.999, 8.24, 99.9, 512.4].map(rate)).toEqual(['0.03', '0.50', '1.0', '8.2', '100', '512']);
  });
  it('shares have one digit after the point', () => expect([0.6136, 1].map(percent)).toEqual(['61.4', '100.0']));
});

describe('printable', () => {
  it('line breaks become spaces', () => expect(printable(' a\r\n  b\tc ')).toBe('a b c'));
  it('nothing in it can steer the terminal', () => {
    expect(printable('a\u001b[2Jb\u0007c\u202ed\u2066')).toBe('a\uFFFD[2Jb\uFFFDc\uFFFDd\uFFFD');
  });
});

it('padding counts columns, and never cuts', () => {
  expect([pad('日', 4), pad('abc', 2)]).toEqual(['日  ', 'abc']);
});
