/** Where Temporal is: Temporal's own environment configuration (TEMPORAL_ADDRESS, profiles, TLS, API key). */
import { Client, Connection, type ConnectionOptions } from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { temporalUnreachable } from '../contracts/errors.js';

export const DEFAULT_ADDRESS = 'localhost:7233';

export function connectionOptions(): { options: ConnectionOptions; namespace: string; address: string } {
  const { connectionOptions: options, namespace } = loadClientConnectConfig();
  return { options, namespace: namespace ?? 'default', address: options.address ?? DEFAULT_ADDRESS };
}

/** Throws temporal.unreachable. */
export async function connect(): Promise<Client> {
  const { options, namespace, address } = connectionOptions();
  try {
    const connection = await Connection.connect({ ...options, connectTimeout: '5 seconds' });
    return new Client({ connection, namespace });
  } catch (error) {
    throw temporalUnreachable(address, (error as Error).message.split('\n')[0]!);
  }
}

const ATTRIBUTES = { SrlmState: 2, SrlmStep: 2, SrlmRound: 3, SrlmScore: 4 } as const; // Keyword, Keyword, Int, Double

/** True once the namespace knows our search attributes. A cluster that lets nobody add them works without. */
export async function ensureSearchAttributes(client: Client): Promise<boolean> {
  const { operatorService } = client.connection as Connection;
  const { namespace } = client.options;
  try {
    const { customAttributes } = await operatorService.listSearchAttributes({ namespace });
    const missing = Object.entries(ATTRIBUTES).filter(([name]) => !(name in (customAttributes ?? {})));
    if (missing.length === 0) return true;
    await operatorService.addSearchAttributes({ namespace, searchAttributes: Object.fromEntries(missing) });
    // The cluster's caches learn of them with a delay, and a workflow that used one before would stumble: next time.
    return false;
  } catch {
    return false;
  }
}
