/** Is an error Temporal's absence? Without Temporal's packages, so that commands which need none do not load them. */

/** gRPC codes: CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE. */
const CODES: unknown[] = [1, 4, 8, 14];

/** No answer, or one that says to ask again later: the request itself was not wrong. */
export function isAway(error: unknown): boolean {
  const { name, cause } = (error ?? {}) as { name?: string; cause?: unknown };
  const { code } = ((name === 'ServiceError' ? cause : error) ?? {}) as { code?: unknown };
  return CODES.includes(code);
}
