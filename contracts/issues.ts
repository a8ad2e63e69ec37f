/** What zod finds wrong with a value, in words for users: a field, and a sentence that names the bound. Pure. */
import type { z } from 'zod';
import { show } from './errors.js';

export type Issue = z.core.$ZodIssue;

const TYPES: Record<string, string> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a map of fields',
  record: 'a map of fields',
};

/** `why: expected at most 500 characters, found 501`: the field, empty for the whole value, and what is wrong with it. */
export function explain(found: Issue): { field: string; reason: string } {
  const issue = deepest(found);
  if (issue.code === 'unrecognized_keys')
    return { field: [...issue.path, issue.keys[0]].join('.'), reason: 'there is no such field' };
  return { field: issue.path.join('.'), reason: `${wanted(issue)}${foundIn(issue)}` };
}

/** In a union (`none` or a map of fields): the issue of the branch that matches the value best, with the fewest issues. */
export function deepest(issue: Issue): Issue {
  if (issue.code !== 'invalid_union') return issue;
  const branches = issue.errors.map((branch) =>
    branch.map((inner) => ({ ...inner, path: [...issue.path, ...inner.path] }) as Issue),
  );
  const objectBranches = branches.filter((branch) =>
    branch.every((inner) => inner.path.length > issue.path.length || inner.code === 'unrecognized_keys'),
  );
  const [objectBranch] = objectBranches.sort((a, b) => a.length - b.length);
  // A name that is wrong explains the field that is missing.
  const [first] = objectBranch?.filter(({ code }) => code === 'unrecognized_keys') ?? [];
  const best = first ?? objectBranch?.[0];
  return best ? deepest(best) : issue;
}

function wanted(issue: Issue): string {
  switch (issue.code) {
    case 'too_small':
      return `expected ${issue.inclusive === false ? 'more than' : 'at least'} ${issue.minimum}${unitOf(issue.origin, issue.minimum)}`;
    case 'too_big':
      return `expected ${issue.inclusive === false ? 'less than' : 'at most'} ${issue.maximum}${unitOf(issue.origin, issue.maximum)}`;
    case 'invalid_type':
      return `expected ${TYPES[issue.expected] ?? issue.expected}`;
    case 'invalid_value':
      return `expected ${issue.values.map((value) => show(value)).join(' or ')}`;
    case 'invalid_union':
      return isKind(issue) ? 'there is no such kind' : `expected ${alternatives(issue).join(' or ')}`;
    case 'custom':
      return issue.message.startsWith('must') ? `it ${issue.message}` : issue.message;
    case 'invalid_format':
      if (issue.format === 'url') return 'expected a URL that begins with http:// or https://';
      return `expected ${issue.message.startsWith('Invalid') ? 'another form' : issue.message}`;
    // The name of an entry of a map.
    case 'invalid_key':
      return `expected ${issue.issues[0]?.message ?? 'another name'}`;
    default:
      return issue.message;
  }
}

/** What each branch of a union wants, once. */
function alternatives(issue: Issue): string[] {
  if (issue.code !== 'invalid_union') return [wanted(issue).replace(/^expected /, '')];
  return [...new Set(issue.errors.flatMap((branch) => branch.slice(0, 1).flatMap(alternatives)))];
}

/** The value of a discriminator is unknown: there is no branch that the value could match. */
const isKind = (issue: Issue): boolean => issue.code === 'invalid_union' && issue.errors.length === 0;

function unitOf(origin: string, count: number | bigint): string {
  if (origin === 'string') return count === 1 ? ' character' : ' characters';
  if (origin === 'array') return count === 1 ? ' entry' : ' entries';
  return '';
}

/** Empty where zod was not asked for the value (`reportInput`), and where the value may be a key. */
function foundIn(issue: Issue): string {
  if (!('input' in issue) || isKind(issue) || (issue.code === 'custom' && issue.params?.isSecret)) return '';
  // An address may hold a password, whatever else is wrong with it.
  const input = typeof issue.input === 'string' ? issue.input.replace(/\/\/[^/]*@/, '//...@') : issue.input;
  const counted = issue.code === 'too_big' && (typeof input === 'string' || Array.isArray(input));
  return `, found ${counted ? input.length : show(input)}`;
}
