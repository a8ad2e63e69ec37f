/** What is wrong with a value, in words for users. */
import { expect, it } from 'vitest';
import type { z } from 'zod';
import { answeredBy, CommandName, commandProblem } from '../../contracts/commands.js';
import { Deployment } from '../../contracts/deployment.js';
import { explain } from '../../contracts/issues.js';
import { RunSpec } from '../../contracts/spec.js';

const said = (schema: z.ZodType, value: unknown): string => {
  const { field, reason } = explain(schema.safeParse(value, { reportInput: true }).error!.issues[0]!);
  return `${field}: ${reason}`;
};
const spec = (more: object) => ({ model: { path: 'm' }, data: { path: 'd' }, catalysts: 'none', ...more });

it.each([
  [RunSpec, spec({ rounds: 101 }), 'rounds: expected at most 100, found 101'],
  [
    RunSpec,
    spec({ selection: { selector: { combine: 'vote', of: ['length', 'x'] } } }),
    'selection.selector.of.1: expected "length" or "off-policy" or "on-policy" or "verifree" or "rlpr" or "r3" or "likelihood-rank" or "efficiency" or "judge" or a map of fields, found "x"',
  ],
  [
    RunSpec,
    spec({ selection: { selector: 'vote', minGain: 1 } }),
    'selection.minGain: it must be 0 for vote, rank-sum, random and a function of your own, which compare no values, found 1',
  ],
  [RunSpec, spec({ rounds: 0.5 }), 'rounds: expected a whole number, found 0.5'],
  [RunSpec, spec({ gate: { confidence: 1 } }), 'gate.confidence: expected less than 1, found 1'],
  [RunSpec, spec({ model: { path: '' } }), 'model.path: expected at least 1 character, found ""'],
  [RunSpec, spec({ model: 'm' }), 'model: expected a map of fields, found "m"'],
  [RunSpec, spec({ catalysts: 3 }), 'catalysts: expected "none" or a map of fields, found 3'],
  [RunSpec, spec({ catalysts: {} }), 'catalysts.path: expected text, found nothing'],
  [RunSpec, spec({ catalysts: { path: 'c', copy: 2 } }), 'catalysts.copy: there is no such field'],
  [RunSpec, spec({ evaluation: { data: 'e' } }), 'evaluation.data: there is no such field'],
  [
    RunSpec,
    spec({ name: 'A' }),
    'name: expected lower-case letters, digits, dot, dash, underscore; at most 64, found "A"',
  ],
  [RunSpec, spec({ prompts: { answer: 'x' } }), 'prompts.answer: it must hold {instruction}, found "x"'],
  [
    RunSpec,
    spec({ approvals: ['lunch'] }),
    'approvals.0: expected "catalysts" or "before-train" or "after-round", found "lunch"',
  ],
  [Deployment, { engines: { a: { kind: 'x' } } }, 'engines.a.kind: there is no such kind'],
  [
    Deployment,
    { engines: { a: { kind: 'endpoint', baseUrl: 'x', model: 'm' } } },
    'engines.a.baseUrl: expected a URL that begins with http:// or https://, found "x"',
  ],
])('%#: names the field, the bound and what was found', (schema, value, sentence) => {
  expect(said(schema, value)).toBe(sentence);
});

const KEY = 'sk-0123456789abcdef';
it.each([
  [
    'a key for the name of its variable',
    { apiKeyEnv: KEY },
    'apiKeyEnv: it must be the name of an environment variable, not the key itself',
  ],
  [
    'a key in the query',
    { baseUrl: `https://a.example/v1?key=${KEY}` },
    'baseUrl: it must hold no password, query or fragment, since it is shown and stored; a key comes from apiKeyEnv',
  ],
  [
    'a password',
    { baseUrl: `https://me:${KEY}@a.example/v1` },
    'baseUrl: it must hold no password, query or fragment, since it is shown and stored; a key comes from apiKeyEnv',
  ],
  ['a header', { headers: { 'x-key': `${KEY}é` } }, 'headers.x-key: it must hold the characters of a header alone'],
  [
    'a password in an address that is none',
    { baseUrl: `ftp://me:${KEY}@a.example/v1` },
    'baseUrl: expected a URL that begins with http:// or https://, found "ftp://...@a.example/v1"',
  ],
])('does not show %s', (_what, fields, sentence) => {
  const engine = { kind: 'endpoint', baseUrl: 'https://a.example/v1', model: 'm', ...fields };
  const found = said(Deployment, { engines: { a: engine } });
  expect(found).not.toContain(KEY);
  expect(found).toBe(`engines.a.${sentence}`);
});

it('says which names a map takes', () => {
  const engine = { kind: 'endpoint', baseUrl: 'https://a.example/v1', model: 'm' };
  expect(said(Deployment, { engines: { 'A 1': engine } })).toBe(
    'engines.A 1: expected lower-case letters, digits, dot, dash, underscore; at most 64, found "A 1"',
  );
});

it('names the fields of a command whose shape is wrong', () => {
  const who = 'ann';
  expect(commandProblem('pause', { who })).toBeNull();
  expect(commandProblem('pause', undefined)).toBe(
    'expected a map of fields, found nothing (the fields of pause are who, why)',
  );
  expect(commandProblem('pause', { why: '' })).toBe(
    'who: expected text, found nothing (the fields of pause are who, why)',
  );
  expect(commandProblem('stop', { who, after: 'tea' })).toBe('after: expected "round" or "step", found "tea"');
  expect(commandProblem('pause', { who, why: 'x'.repeat(501) })).toBe(
    'why: expected at most 500 characters, found 501',
  );
});

it('knows what a command answers', () => {
  expect(Object.fromEntries(CommandName.options.map((name) => [name, answeredBy(name)]))).toEqual({
    retry: 'parked',
    skip: 'parked',
    approve: 'waiting',
    reject: 'waiting',
    abort: 'any',
    pause: null,
    resume: null,
    stop: null,
    set: null,
    promote: null,
  });
});
