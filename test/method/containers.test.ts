import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readValues } from '../../method/formats/index.js';
import { all, message, stream } from './bytes.js';

const rows = (content: string | Uint8Array, chunkSize?: number) =>
  all(readValues(stream(content, chunkSize), 'data.jsonl'));
const bytes = (...parts: (string | number[])[]) =>
  Uint8Array.from(parts.flatMap((part) => (typeof part === 'string' ? [...new TextEncoder().encode(part)] : part)));

describe('readValues', () => {
  it('gives the same rows for JSONL and for an array, however the bytes are cut', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.jsonValue(), { minLength: 1 }),
        fc.integer({ min: 1, max: 20 }),
        async (values, size) => {
          const lines = values.map((value) => JSON.stringify({ value }));
          const want = lines.map((line) => JSON.parse(line));
          const found = [
            lines.join('\n'),
            lines.join('\r\n\r\n'),
            `[${lines.join(',\n')}]`,
            JSON.stringify(want, null, 2),
          ];
          for (const content of found) expect((await rows(content, size)).map(({ value }) => value)).toEqual(want);
        },
      ),
    ));

  it('counts lines through a byte order mark, CRLF and blank lines', async () => {
    const found = await rows(bytes([0xef, 0xbb, 0xbf], '\r\n{"a":1}\r\n\r\n  \r\n{"a":2}'), 1);
    expect(found).toEqual([
      { line: 2, value: { a: 1 } },
      { line: 5, value: { a: 2 } },
    ]);
  });

  it('reports the line on which an element of an array starts', async () => {
    const found = await rows('\n[\n  {\n    "a": "],[\\"{"\n  },\n\n  {"a": 2}\n]\n');
    expect(found).toEqual([
      { line: 3, value: { a: '],["{' } },
      { line: 7, value: { a: 2 } },
    ]);
  });

  it('keeps a text of 100,000 characters whole, with control characters, HTML, RTL and emoji', async () => {
    const text = '<b>&amp;</b> \u0001\u202eשלום\u2028 👩‍👩‍👧 '.repeat(4000);
    expect(await rows(`${JSON.stringify({ text })}\n`, 4096)).toEqual([{ line: 1, value: { text } }]);
  });

  it('gives the rows before an unusable one first', async () => {
    const seen: number[] = [];
    const work = async () => {
      for await (const { line } of readValues(stream('{"a":1}\n{"a":2}\nnope'), 'data.jsonl')) seen.push(line);
    };
    await expect(work()).rejects.toThrow('data.jsonl:3');
    expect(seen).toEqual([1, 2]);
  });

  const bad: [string, string | Uint8Array, string][] = [
    ['an empty file', '', 'data.jsonl: the file is empty. [file.empty]'],
    ['a file of blank lines', ' \n\r\n\t', 'data.jsonl: the file is empty. [file.empty]'],
    [
      'a broken line',
      '{"a":1}\n\n{"a" 1}\n',
      "data.jsonl:3: this is not JSON (expected ':' after property name at character 6). Fix the row. [data.invalid]",
    ],
    [
      'a line cut short',
      '{"a":1}\n{"a":',
      'data.jsonl:2: this is not JSON (unexpected end of JSON input). Fix the row. [data.invalid]',
    ],
    [
      'an array cut short',
      '[{"a":1},\n{"a":',
      'data.jsonl:2: this is not JSON (the file ends inside the array). Fix the row. [data.invalid]',
    ],
    [
      'a comma too many in an array',
      '[{"a":1},\n]',
      'data.jsonl:2: this is not JSON (there is a comma too many). Fix the row. [data.invalid]',
    ],
    [
      'text after an array',
      '[{"a":1}]\n{"a":2}',
      'data.jsonl:2: this is not JSON (there is more after the end of the array). Fix the row. [data.invalid]',
    ],
    [
      'Latin-1 in a line',
      bytes('{"a":1}\n{"a":"caf', [0xe9], '"}\n'),
      'data.jsonl:2: this is not UTF-8. Convert the file to UTF-8. [file.not-utf8]',
    ],
    [
      'Latin-1 within an element of an array',
      bytes('[\n{"b":1,\n"a":"caf', [0xe9], '"}\n]'),
      'data.jsonl:3: this is not UTF-8. Convert the file to UTF-8. [file.not-utf8]',
    ],
    [
      'UTF-16',
      bytes([0xff, 0xfe], '{\0"\0}\0'),
      'data.jsonl:1: this is not UTF-8. Convert the file to UTF-8. [file.not-utf8]',
    ],
  ];
  it.each(bad)('refuses %s', async (_, content, says) => expect(await message(rows(content))).toBe(says));

  it('reads deep nesting without running out of stack', async () => {
    const deep = '['.repeat(50_000);
    expect(await message(rows(deep, 4096))).toContain('the file ends inside the array');
    expect(await rows(`${deep}${']'.repeat(50_000)}`, 4096)).toHaveLength(1);
  });
});
