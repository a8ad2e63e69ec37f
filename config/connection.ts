/**
 * The connection to Temporal, by Temporal's own environment configuration (TEMPORAL_ADDRESS, profiles, TLS, API key),
 * and a client with the plugins, data converter and interceptors of the deployment. Throws temporal.settings,
 * temporal.unreachable, config.invalid.
 */
import {
  Client,
  type ClientPlugin,
  Connection,
  type ConnectionOptions,
  type ConnectionPlugin,
} from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import type { Deployment } from '../contracts/deployment.js';
import { configInvalid, temporalSettings, temporalUnreachable } from '../contracts/errors.js';

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
    throw temporalSettings(firstLine(error));
  }
}

export type ClientSettings = Pick<Deployment, 'plugins' | 'dataConverter' | 'interceptors'>;

/** A client that connects with its first request. Throws temporal.settings, config.invalid. */
export function lazyClient({ plugins, dataConverter, interceptors }: ClientSettings): Client {
  const { options, namespace, address } = connectionOptions();
  try {
    const connection = Connection.lazy({
      ...options,
      ...directIfHere(address),
      connectTimeout: '5 seconds',
      // The client takes over those of its connection: given to both, each would be applied twice.
      plugins: plugins as (ClientPlugin & ConnectionPlugin)[],
    });
    return new Client({
      connection,
      namespace,
      ...(dataConverter ? { dataConverter } : {}),
      ...(interceptors.client ? { interceptors: interceptors.client } : {}),
    });
  } catch (error) {
    // A file that dataConverter names is missing, or is no converter; a plugin refuses the options.
    throw configInvalid('temporal.config.ts', `the client of Temporal cannot be made (${firstLine(error)}).`);
  }
}

/** Throws temporal.settings, temporal.unreachable, config.invalid. */
export async function connect(settings: ClientSettings): Promise<Client> {
  const client = lazyClient(settings);
  try {
    await (client.connection as Connection).ensureConnected();
    return client;
  } catch (error) {
    await client.connection.close();
    const { address } = connectionOptions();
    const proxy = isHere(address) ? undefined : PROXIES.find((name) => process.env[name]);
    const reason = firstLine(error);
    throw temporalUnreachable(address, proxy ? `${reason}, through the proxy that ${proxy} names` : reason);
  }
}

const firstLine = (error: unknown): string => (error as Error).message.split('\n')[0]!.replace(/\.$/, '');
