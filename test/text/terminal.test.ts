import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { columns, table, wrap } from '../../text/columns.js';
import { styled } from '../../text/terminal.js';
import { visible, visibleJson } from '../../text/text.js';

const HOSTILE: [string, string][] = [
  ['a colour', '\u001b[31m'],
  ['the title of a window', '\u001b]0;PWN\u0007'],
  ['a clipboard write', '\u001b]52;c;cm0gLXJm\u0007'],
  ['a link', '\u001b]8;;http://evil.example\u001b\\x'],
  ['a cursor movement', '\u001b[2A\u001b[2K'],
  ['an escape of eight bits', '\u009b31m'],
  ['a line break', 'a\nparked'],
  ['a carriage return', 'a\rb'],
  ['a vertical tab', 'a\u000bb'],
  ['a backspace', 'a\b\bb'],
  ['a null', 'a\u0000b'],
  ['a delete', 'a\u007fb'],
  ['a line separator', 'a\u2028b'],
  ['a paragraph separator', 'a\u2029b'],
  ['text from right to left', 'a\u202eb'],
  ['an isolate', 'a\u2066b\u2069'],
  ['a direction mark', 'a\u200f\u061cb'],
  ['a zero-width space', 'a\u200bb'],
  ['a soft hyphen', 'a\u00adb'],
  ['a filler that is not seen', 'a\u3164b'],
  ['bytes in variation selectors', 'a\u{e0110}b'],
  ['a byte order mark', 'a\ufeffb'],
  ['hidden tags', 'a\u{e0041}\u{e0042}'],
  ['half a surrogate pair', 'a\ud800b'],
];
const STEERS =
  /(?!\t)[\p{Cc}\p{Cs}\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\u3164\ufeff]|[\u{e0000}-\u{e01ef}]/u;

const unstyled = (line: string) =>
  [0, 2, 31, 32, 33, 36].reduce((text, code) => text.replaceAll(`\u001b[${code}m`, ''), line);

describe('what is written to a terminal', () => {
  it.each(HOSTILE)('shows %s as a mark, on the same line', (_what, text) => {
    expect(visible(text)).toContain('\uFFFD');
    for (const color of [true, false])
      expect(styled(`step ${text}`, color).replaceAll('\u001b[31m', '')).not.toMatch(STEERS);
  });

  it.each(HOSTILE)('is the same value in JSON, with %s as an escape', (_what, text) => {
    const json = visibleJson({ [text]: [text] });
    expect(json).not.toMatch(STEERS);
    expect(JSON.parse(json)).toEqual({ [text]: [text] });
  });

  it('leaves other text as it is', () => {
    for (const text of ['plain', 'é ü ß', '日本語', 'עברית', 'a\tb', '👨‍👩‍👧‍👦', '✓ ●'])
      expect([visible(text), styled(text, true)]).toEqual([text, text]);
  });

  it('keeps the styles of the tree where there is colour, and no others', () => {
    const line = '\u001b[32m✓\u001b[0m \u001b[2mdone\u001b[0m';
    expect(styled(line, true)).toBe(line);
    expect(styled(line, false)).not.toContain('\u001b');
    expect(styled('\u001b[8mhidden', true)).toBe('\uFFFD[8mhidden');
  });

  it('is never more than one line, whatever the text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.boolean(), (text, color) => {
        expect(unstyled(styled(text, color))).not.toMatch(STEERS);
        expect(visibleJson(text)).not.toMatch(STEERS);
        expect(JSON.parse(visibleJson(text))).toBe(text);
      }),
    );
  });

  it('is as wide as it is drawn, in tables and in wrapped text', () => {
    const [, row] = table(['run', 'state'], [['\u001b[31mx', 'done']]);
    expect(row).toBe('\uFFFD[31mx  done');
    for (const line of wrap('\u001b[31m'.repeat(10), 12)) expect(columns(line)).toBeLessThanOrEqual(12);
  });

  it('has one writer', () => {
    const root = join(import.meta.dirname, '../..');
    const writers = [
      'activities',
      'audit',
      'client',
      'config',
      'engines',
      'method',
      'processes',
      'storage',
      'text',
      'training',
      'worker',
    ]
      .flatMap((folder) =>
        readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((name) => `${folder}/${name}`),
      )
      .filter((name) => name.endsWith('.ts'))
      .filter((name) => /std(out|err)\.write|console\.\w+\(/.test(readFileSync(join(root, name), 'utf8')));
    // The tree that is redrawn in place passes through `styled`. A Node that is too old cannot load the writer.
    expect(writers.sort()).toEqual(['client/cli/follow.ts', 'client/cli/node-version.ts', 'text/terminal.ts']);
  });
});
