/** Whether an error means that Temporal is away. Loads none of Temporal's packages: some commands do without them. */

/** The namespace that Temporal does not have, by any of the sentences of its server, client and worker; else null. */
export function missingNamespace(error: unknown): string | null {
  const { message, cause } = (error ?? {}) as { message?: string; cause?: { message?: string } };
  const said = `${message} ${cause?.message}`;
  const [, named, quoted] = /\bNamespace (?:(\S+) (?:is|was) not found|not found: '(.*?)')/.exec(said) ?? [];
  return named ?? quoted ?? null;
}

/** gRPC codes: CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE. */
const CODES: unknown[] = [1, 4, 8, 14];

/** There was no answer, or one that says to ask again later: the request itself was not wrong. */
export function isAway(error: unknown): boolean {
  const { name, cause } = (error ?? {}) as { name?: string; cause?: unknown };
  const { code } = ((name === 'ServiceError' ? cause : error) ?? {}) as { code?: unknown };
  return CODES.includes(code);
}
