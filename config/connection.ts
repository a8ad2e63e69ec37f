/**
 * The connection to Temporal, by Temporal's own environment configuration (TEMPORAL_ADDRESS, profiles, TLS, API key).
 * Throws temporal.unreachable.
 */
import { Client, Connection, type ConnectionOptions } from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { temporalUnreachable } from '../contracts/errors.js';

export const DEFAULT_ADDRESS = 'localhost:7233';

export function connectionOptions(): { options: ConnectionOptions; namespace: string; address: string } {
  const { connectionOptions: options, namespace } = loadClientConnectConfig();
  return { options, namespace: namespace ?? 'default', address: options.address ?? DEFAULT_ADDRESS };
}

export async function connect(): Promise<Client> {
  const { options, namespace, address } = connectionOptions();
  try {
    const connection = await Connection.connect({ ...options, connectTimeout: '5 seconds' });
    return new Client({ connection, namespace });
  } catch (error) {
    throw temporalUnreachable(address, (error as Error).message.split('\n')[0]!);
  }
}
