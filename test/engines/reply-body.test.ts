/** Compressed replies, in whichever way. */
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { jsonOf, NotUnderstood } from '../../engines/reply-body.js';

const body = Buffer.from('{"a":1}');
it.each<[string, Buffer]>([
  ['gzip', gzipSync(body)],
  ['', gzipSync(body)],
  ['gzip', body],
  ['br', brotliCompressSync(body)],
  ['deflate', deflateSync(body)],
  ['deflate', deflateRawSync(body)],
  ['gzip, br', brotliCompressSync(gzipSync(body))],
])('reads %j', (encoding, sent) => {
  expect(jsonOf({ headers: { 'content-encoding': encoding }, body: sent }, 100)).toEqual({ a: 1 });
});

it('does not unpack more than it may', () => {
  const sent = gzipSync(Buffer.alloc(10_000, 32));
  expect(() => jsonOf({ headers: { 'content-encoding': 'gzip' }, body: sent }, 100)).toThrow(NotUnderstood);
});
