import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readValues } from '../../method/formats/index.js';
import { all, message, stream } from './bytes.js';

/** Throws what is wrong with the first row that cannot be read. */
async function* values(bytes: AsyncIterable<Uint8Array>, file: string) {
  for await (const { problem, ...row } of readValues(bytes, file)) {
    if (problem) throw problem;
    yield row;
  }
}
const rows = (content: string | Uint8Array, chunkSize?: number, file = 'data.jsonl') =>
  all(values(stream(content, chunkSize), file));
const bytes = (...parts: (string | number[])[]) =>
  Uint8Array.from(parts.flatMap((part) => (typeof part === 'string' ? [...new TextEncoder().encode(part)] : part)));

describe('readValues', () => {
  it('gives the same rows for JSONL and for an array, however the bytes are cut', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.jsonValue(), { minLength: 1 }),
        fc.integer({ min: 1, max: 20 }),
        async (values, size) => {
          const lines = values.map((value) => JSON.stringify({ prompt: '', value }));
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
      for await (const { line } of values(stream('{"a":1}\n{"a":2}\nnope'), 'data.jsonl')) seen.push(line);
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
      'data.jsonl: this is a text in UTF-16. Save it as UTF-8. [data.unusable]',
    ],
    ['UTF-16 without a mark', '{\0"\0}\0', 'data.jsonl: this is a text in UTF-16. Save it as UTF-8. [data.unusable]'],
    [
      'a workbook of Excel',
      `PK\x03\x04${'\0'.repeat(26)}[Content_Types].xml`,
      'data.jsonl: this is a file of Excel or another Office program. Save the sheet as CSV (UTF-8). [data.unusable]',
    ],
    [
      'rows without line ends between them',
      '{"a":1}{"a":2}',
      'data.jsonl:1: this is not JSON (there is more after the end of the row; write one row on each line, without commas between them). Fix the row. [data.invalid]',
    ],
    [
      'what Python prints of an object',
      `{'a': 1}`,
      'data.jsonl:1: this is not JSON (it is an object as Python prints it; write it with json.dumps). Fix the row. [data.invalid]',
    ],
  ];
  it.each(bad)('refuses %s', async (_, content, says) => expect(await message(rows(content))).toBe(says));

  describe('CSV', () => {
    const csv = (content: string, chunkSize?: number, file = 'data.csv') => rows(content, chunkSize, file);
    const quoted = (cell: string) => (/["\n\r,]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
    const cells = fc
      .string({ unit: fc.constantFrom('a', 'ü', ' ', '"', ',', '\n', ';'), minLength: 1 })
      .map((text) => `x${text}`);

    it('is read as it was written, with the line of each row, however the bytes are cut', () =>
      fc.assert(
        fc.asyncProperty(
          fc.array(fc.tuple(cells, cells), { minLength: 1, maxLength: 5 }),
          fc.integer({ min: 1, max: 20 }),
          fc.constantFrom('\n', '\r\n'),
          async (table, size, end) => {
            const lines = [['instruction', 'output'], ...table].map((row) => row.map(quoted).join(',') + end);
            const found = await csv(lines.join(''), size);
            expect(found.map(({ value }) => value)).toEqual(
              table.map(([instruction, output]) => ({ instruction, output })),
            );
            let line = 1;
            expect(found.map((row) => row.line)).toEqual(
              lines.slice(0, -1).map((text) => (line += text.split('\n').length - 1)),
            );
          },
        ),
        { numRuns: 50 },
      ));
    it.each([
      ['tabs', 'data.tsv', 'a\tb\n1,5\t"2"\n'],
      ['semicolons', 'data.csv', '\ufeffa;b\n1,5;2'],
      ['bars', 'data.csv', 'a|b\n1,5|2'],
      ['old line ends', 'data.csv', 'a,b\r"1,5",2\r'],
      ['a line that names the delimiter', 'data.csv', 'sep=;\r\na;b\r\n1,5;2\r\n'],
      ['empty lines and a column without a name', 'DATA.CSV.gz', ',a,b\n\n0,"1,5",2\n\n'],
    ])('may have %s', async (_, file, content) => {
      expect((await csv(content, 3, file)).map(({ value }) => value)).toEqual([{ a: '1,5', b: '2' }]);
    });
    it('may have lists in its cells, and quotation marks within them', async () => {
      expect(await csv('q,choices\n5" pipe?,"[""x"", ""y""]"\n[draft,x')).toEqual([
        { line: 2, value: { q: '5" pipe?', choices: ['x', 'y'] } },
        { line: 3, value: { q: '[draft', choices: 'x' } },
      ]);
    });
    it('that is JSON is read as JSON', async () => {
      expect(await csv('{"a":1}\n{"a":2}')).toHaveLength(2);
      expect(await csv('[{"a":1}]')).toHaveLength(1);
    });
    it.each([
      [
        'a row of another width',
        'a,b\n1,2\n3\n',
        'data.csv:3: expected 2 cells, as in the header, found 1. Fix the row. [data.invalid]',
      ],
      ['a name twice', 'a,a\n1,2', 'data.csv: its header, line 1, names "a" twice. [data.unusable]'],
      [
        'an open quotation mark',
        'a,b\n1,2\n3,"4\n5,6\n',
        'data.csv:3: a quotation mark opens a cell in this row, and none closes it. Fix the row. [data.invalid]',
      ],
    ])('with %s is refused', async (_, content, want) => expect(await message(csv(content))).toBe(want));
    it('with tabs loses no rows to a quotation mark that begins a cell', async () => {
      expect(await message(csv('a\tb\n"x\t1\ny "z"\t2\nu\t3\n', 3, 'data.tsv'))).toBe(
        'data.tsv:2: a quotation mark opens a cell in this row, which has tabs and line ends in it; double the mark, or write the table as CSV or JSONL. Fix the row. [data.invalid]',
      );
    });
    it('in Latin-1 is refused', async () => {
      expect(await message(rows(bytes('a,b\ncaf', [0xe9], ',1'), 4, 'data.csv'))).toBe(
        'data.csv: this is not UTF-8. Convert the file to UTF-8. [file.not-utf8]',
      );
    });
    it('of one quotation mark and much text does not fill the memory', async () => {
      expect(await message(csv(`a,b\n1,"${'x'.repeat(17 * 2 ** 20)}`, 2 ** 18))).toBe(
        'data.csv:2: the row is larger than 16 MB; a quotation mark may be missing. Fix the row. [data.invalid]',
      );
    });
  });

  describe('an object that holds the list of rows', () => {
    const list = [
      { instruction: 'a', output: '],}"' },
      { instruction: 'b', output: 'c' },
    ];
    it.each([
      ['under data', { version: '1.0', data: list, more: { list: [1] } }],
      ['under rows, with another list', { splits: [{ name: 'x' }], rows: list }],
      ['as its only list of objects', { tags: ['x'], sums: list, total: 2 }],
    ])('%s is read as the list, on one line or many', async (_, value) => {
      for (const indent of [0, 2]) {
        const text = JSON.stringify(value, null, indent);
        for (const size of [1, 1000]) {
          const found = (await rows(text, size)).filter(({ beside }) => !beside);
          expect(found.map((row) => row.value)).toEqual(list);
          const linesBefore = text
            .slice(0, text.indexOf('{', text.indexOf('"instruction": "a"') - 20))
            .split('\n').length;
          if (indent > 0) expect(found[0]!.line).toBe(linesBefore);
        }
      }
    });
    it('names the other lists that it has, or says that there is one', async () => {
      const beside = async (value: object) => (await rows(JSON.stringify(value))).flatMap((row) => row.beside ?? []);
      expect(await beside({ train: list, test: list, features: [{ name: 'x' }] })).toEqual(['test']);
      expect(await beside({ data: list, more: [1], info: { notes: '[{' } })).toEqual([]);
      const many = Array.from({ length: 20_000 }, () => ({ instruction: 'x'.repeat(60), output: 'y' }));
      expect(await beside({ train: many, test: list })).toEqual(['what follows its rows']);
      expect(await beside({ train: many, more: [1], info: '[{' })).toEqual([]);
    });
    it('may have its rows as members, by their ids', async () => {
      const members = { 17: { question: 'a', choices: ['x', 'y'] }, 18: { question: 'b', choices: ['x', 'y'] } };
      for (const indent of [0, 1])
        for (const size of [1, 1000]) {
          const found = await rows(JSON.stringify(members, null, indent), size);
          expect(found.map(({ value }) => value)).toEqual(Object.values(members));
        }
      const many = Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [i, { q: 'x'.repeat(60), a: `${i}` }]));
      expect((await rows(JSON.stringify(many), 2 ** 16)).at(-1)!.value).toEqual(many[19_999]);
    });
    it.each([
      { question: { 0: 'a', 1: 'b' }, answer: { 0: 'c', 1: 'd' } },
      { question: ['a', 'b'], answer: ['c', 'd'] },
      { columns: ['question', 'answer'], index: [0], data: [['a', 'c']] },
    ])('that is a table by columns is named: %j', async (value) => {
      expect(await message(rows(JSON.stringify(value)))).toBe(
        "data.jsonl: this is a table by columns, as pandas and datasets hold it. Write it by rows: df.to_json(FILE, orient='records', lines=True). [data.unusable]",
      );
    });
    it('may be larger than what is held of it', async () => {
      const many = Array.from({ length: 20_000 }, (_, i) => ({
        instruction: `Say ${i}. ${'x'.repeat(50)}`,
        output: `${i}`,
      }));
      expect(await rows(JSON.stringify({ version: 1, data: many }), 2 ** 16)).toHaveLength(20_000);
    });
    it.each([
      '{"instruction":"a","data":[{"b":1}]}',
      '{"messages":[{"role":"user","content":"a"}]}',
      '{"a":1}\n',
      '{"data":[{"a":1}]}\n{"data":[{"a":2}]}',
    ])('is not what a line of JSON Lines is: %s', async (text) => {
      expect((await rows(text)).map(({ value }) => value)).toEqual(
        text
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line)),
      );
    });
    const hint = 'Write one row on each line (JSONL), or the rows as a list. [data.unusable]';
    it.each([
      [
        'that is one row',
        { instruction: 'a', output: 'b' },
        '',
        `data.jsonl: this is one JSON object over 4 lines, and there is no list of objects in it; its fields are instruction, output. ${hint}`,
      ],
      [
        'that is followed by another',
        { a: 1 },
        '\n{"b": 2}',
        `data.jsonl: this is one JSON object over 3 lines, and there is more after it; its fields are a. ${hint}`,
      ],
      [
        'with two lists',
        { x: [{ a: 1 }], y: [{ b: 1 }] },
        '',
        `data.jsonl: this is one JSON object over 12 lines, and there are several lists of objects in it; its fields are x (a list), y (a list). ${hint}`,
      ],
    ])('one over many lines %s is named', async (_, value, more, want) => {
      expect(await message(rows(JSON.stringify(value, null, 2) + more))).toBe(want);
    });
    it('that is cut is refused', async () => {
      expect(await message(rows('{\n "data": [{"a":1},\n {"a'))).toBe(
        'data.jsonl:3: this is not JSON (the file ends inside the array). Fix the row. [data.invalid]',
      );
      expect(await message(rows('{\n "data": 1,\n'))).toBe(
        'data.jsonl:1: this is not JSON (the file ends inside the object). Fix the row. [data.invalid]',
      );
    });
  });

  describe('NaN, which Python writes for what is missing', () => {
    it('is a missing value, and a word within a text', async () => {
      expect(await rows('{"a":NaN,"b":"NaN, \\"NaN\\" and \\\\","c":[-Infinity,NaN]}')).toEqual([
        { line: 1, value: { a: Number.NaN, b: 'NaN, "NaN" and \\', c: [Number.NEGATIVE_INFINITY, Number.NaN] } },
      ]);
    });
    it('does not make JSON of what is none', async () => {
      expect(await message(rows('{"a":NaN,}'))).toContain('this is not JSON');
      expect(await message(rows('{"a":"NaN'))).toContain('this is not JSON');
    });
  });

  it.each([
    [
      'version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n',
      'a Git LFS pointer, not the data that it points to',
    ],
    ['<!DOCTYPE html><html>', 'an HTML page, not data'],
    ['PK\u0003\u0004', 'a zip file'],
    [bytes([0xfd], '7zXZ', [0, 0]), 'an xz file'],
    ['%PDF-1.7', 'a PDF file'],
    [bytes([0x80, 4, 0x95]), 'a pickle of Python'],
    [bytes(`a.jsonl${'\0'.repeat(250)}ustar`), 'a tar file'],
  ])('names what is no data: %#', async (content, is) =>
    expect(await message(rows(content))).toContain(`data.jsonl: this is ${is}. `),
  );

  it('gives rows or one sentence, whatever the bytes are', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.constantFrom(
            '{',
            '}',
            '[',
            ']',
            '"',
            ',',
            ':',
            '\n',
            '\\',
            'a',
            '1',
            ' ',
            'data',
            'NaN',
            '{"a":1}',
            '\ufeff',
            'é',
          ),
        ),
        fc.uint8Array({ maxLength: 5 }),
        fc.integer({ min: 1, max: 9 }),
        fc.constantFrom('data.jsonl', 'data.csv', 'data.tsv'),
        async (words, more, size, file) => {
          const content = bytes(words.join(''), [...more]);
          await rows(content, size, file).catch((error) =>
            expect(['data.invalid', 'data.unusable', 'file.empty', 'file.not-utf8']).toContain(error.type),
          );
        },
      ),
      { numRuns: 500 },
    ));

  it('reads deep nesting without running out of stack', async () => {
    const deep = '['.repeat(50_000);
    expect(await message(rows(deep, 4096))).toContain('the file ends inside the array');
    expect(await rows(`${deep}${']'.repeat(50_000)}`, 4096)).toHaveLength(1);
  });
});
