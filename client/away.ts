/** Whether an error means that Temporal is away. Loads none of Temporal's packages: some commands do without them. */

/** gRPC codes: CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE. */
const CODES: unknown[] = [1, 4, 8, 14];

/** There was no answer, or one that says to ask again later: the request itself was not wrong. */
export function isAway(error: unknown): boolean {
  const { name, cause } = (error ?? {}) as { name?: string; cause?: unknown };
  const { code } = ((name === 'ServiceError' ? cause : error) ?? {}) as { code?: unknown };
  return CODES.includes(code);
}
