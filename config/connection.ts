/**
 * The connection to Temporal, by Temporal's own environment configuration (TEMPORAL_ADDRESS, profiles, TLS, API key).
 * Throws temporal.settings, temporal.unreachable.
 */
import { Client, Connection, type ConnectionOptions } from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { temporalSettings, temporalUnreachable } from '../contracts/errors.js';

export const DEFAULT_ADDRESS = 'localhost:7233';

/** Where gRPC for Node looks for a proxy, in this order. */
const PROXIES = ['grpc_proxy', 'https_proxy', 'http_proxy'];

/**
 * gRPC for Node sends even what is meant for this machine to a proxy, where a server of this machine cannot be found, and
 * where the requests can be read.
 */
export const directIfHere = (address: string): Pick<ConnectionOptions, 'channelArgs'> =>
  isHere(address) ? { channelArgs: { 'grpc.enable_http_proxy': 0 } } : {};

const isHere = (address: string): boolean => /^(localhost|127(\.\d+){3}|\[?::1\]?):\d+$/.test(address);

/** Throws temporal.settings. */
export function connectionOptions(): { options: ConnectionOptions; namespace: string; address: string } {
  const { connectionOptions: options, namespace } = settings();
  return { options, namespace: namespace ?? 'default', address: options.address ?? DEFAULT_ADDRESS };
}

function settings(): ReturnType<typeof loadClientConnectConfig> {
  try {
    return loadClientConnectConfig();
  } catch (error) {
    throw temporalSettings((error as Error).message.split('\n')[0]!.replace(/\.$/, ''));
  }
}

export async function connect(): Promise<Client> {
  const { options, namespace, address } = connectionOptions();
  try {
    const connection = await Connection.connect({
      ...options,
      ...directIfHere(address),
      connectTimeout: '5 seconds',
    });
    return new Client({ connection, namespace });
  } catch (error) {
    const reason = (error as Error).message.split('\n')[0]!;
    const proxy = isHere(address) ? undefined : PROXIES.find((name) => process.env[name]);
    throw temporalUnreachable(address, proxy ? `${reason}, through the proxy that ${proxy} names` : reason);
  }
}
