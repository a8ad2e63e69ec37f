/** The search attributes that runs set on themselves: whether they do, which the namespace lacks, and adding those. */
import type { Client, Connection } from '@temporalio/client';
import { type Deployment, SEARCH_ATTRIBUTES } from '../contracts/deployment.js';

/** Numbers of temporal.api.enums.v1.IndexedValueType. */
const VALUE_TYPES = { Keyword: 2, Int: 3, Double: 4 } as const;

/** Names that the namespace does not know yet. Throws what the server answers to somebody who may not list them. */
export async function missingSearchAttributes(client: Client): Promise<string[]> {
  const { operatorService } = client.connection as Connection;
  const { customAttributes } = await operatorService.listSearchAttributes({ namespace: client.options.namespace });
  return Object.keys(SEARCH_ATTRIBUTES).filter((name) => !(name in (customAttributes ?? {})));
}

/** Whether a run that starts now is to set them. Changes nothing in the namespace. */
export async function setsSearchAttributes(client: Client, wanted: Deployment['searchAttributes']): Promise<boolean> {
  if (wanted !== 'auto') return wanted === 'on';
  // A workflow that sets one which the namespace does not know fails.
  const missing = await missingSearchAttributes(client).catch(() => null);
  return missing?.length === 0;
}

/**
 * Adds `names` to the namespace. The cluster takes some time to know them everywhere. Throws what the server answers to
 * somebody who may not add them.
 */
export async function addSearchAttributes(client: Client, names: readonly string[]): Promise<void> {
  const types = Object.entries(SEARCH_ATTRIBUTES).filter(([name]) => names.includes(name));
  await (client.connection as Connection).operatorService.addSearchAttributes({
    namespace: client.options.namespace,
    searchAttributes: Object.fromEntries(types.map(([name, type]) => [name, VALUE_TYPES[type]])),
  });
}

/** Arguments of `temporal server start-dev` that register them. */
export const searchAttributeArgs = (): string[] =>
  Object.entries(SEARCH_ATTRIBUTES).flatMap(([name, type]) => ['--search-attribute', `${name}=${type}`]);
