/** The search attributes that runs set on themselves: adding them to a namespace, and listing which are missing. */
import type { Client, Connection } from '@temporalio/client';
import { SEARCH_ATTRIBUTES } from '../contracts/deployment.js';

/** Numbers of temporal.api.enums.v1.IndexedValueType. */
const VALUE_TYPES = { Keyword: 2, Int: 3, Double: 4 } as const;

/** Names that the namespace does not know yet. Throws what the server answers to somebody who may not list them. */
export async function missingSearchAttributes(client: Client): Promise<string[]> {
  const { operatorService } = client.connection as Connection;
  const { customAttributes } = await operatorService.listSearchAttributes({ namespace: client.options.namespace });
  return Object.keys(SEARCH_ATTRIBUTES).filter((name) => !(name in (customAttributes ?? {})));
}

/** Adds what is missing. True if runs may set them now; a cluster where nobody may add them works without. */
export async function ensureSearchAttributes(client: Client): Promise<boolean> {
  try {
    const missing = await missingSearchAttributes(client);
    if (missing.length === 0) return true;
    const types = Object.entries(SEARCH_ATTRIBUTES).filter(([name]) => missing.includes(name));
    await (client.connection as Connection).operatorService.addSearchAttributes({
      namespace: client.options.namespace,
      searchAttributes: Object.fromEntries(types.map(([name, type]) => [name, VALUE_TYPES[type]])),
    });
    // The cluster takes some time to know new ones everywhere, and a workflow that sets an unknown one fails.
    return false;
  } catch {
    return false;
  }
}

/** Arguments of `temporal server start-dev` that register them. */
export const searchAttributeArgs = (): string[] =>
  Object.entries(SEARCH_ATTRIBUTES).flatMap(([name, type]) => ['--search-attribute', `${name}=${type}`]);
