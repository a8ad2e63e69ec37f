/** Texts of a spec: names, free texts, templates with holes. */
import { z } from 'zod';

export const Name = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'lower-case letters, digits, dot, dash, underscore; at most 64');

const MAX_TEXT_CHARS = 200_000;
/** A spec is stored as canonical JSON, which has no lone surrogates. */
export const encodable = z.string().refine((value) => !/\p{Surrogate}/u.test(value), 'must hold no lone surrogate');
export const text = () => encodable.max(MAX_TEXT_CHARS);

/** A text that holds these holes, in braces. */
export const template = (...holes: string[]) =>
  text().refine(
    (value) => holes.every((hole) => value.includes(`{${hole}}`)),
    `must hold ${holes.map((h) => `{${h}}`).join(' and ')}`,
  );
