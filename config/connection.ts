/**
 * The connection to Temporal, by Temporal's own environment configuration (TEMPORAL_ADDRESS, profiles, TLS, API key),
 * and a client with the plugins, data converter and interceptors of the deployment. Throws temporal.settings,
 * temporal.unreachable, config.invalid.
 */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import {
  Client,
  type ClientPlugin,
  Connection,
  type ConnectionOptions,
  type ConnectionPlugin,
} from '@temporalio/client';
import type { TLSConfig } from '@temporalio/common/lib/internal-non-workflow/index.js';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import type { Deployment } from '../contracts/deployment.js';
import {
  configInvalid,
  type Problem,
  reasonOf,
  temporalRefuses,
  temporalSettings,
  temporalUnreachable,
} from '../contracts/errors.js';
import { guarded } from './codec.js';

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
    const file = process.env.TEMPORAL_CONFIG_FILE;
    if (file && !existsSync(file)) throw temporalSettings(`there is no file ${file}, which TEMPORAL_CONFIG_FILE names`);
    throw temporalSettings(reasonOf(error));
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
      ...(dataConverter ? { dataConverter: guarded(dataConverter) } : {}),
      ...(interceptors.client ? { interceptors: interceptors.client } : {}),
    });
  } catch (error) {
    // A file that dataConverter names is missing, or is no converter; a plugin refuses the options.
    throw configInvalid('temporal.config.ts', `the client of Temporal cannot be made (${reasonOf(error)}).`);
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
    throw await unreachable(error);
  }
}

/** Why no connection came about. gRPC says the same of a server that is away and of one that refuses the client's TLS. */
export async function unreachable(error: unknown): Promise<Problem> {
  const { address, options } = connectionOptions();
  const proxy = isHere(address) ? undefined : PROXIES.find((name) => process.env[name]);
  if (proxy) return temporalUnreachable(address, `${reasonOf(error)}, through the proxy that ${proxy} names`);
  const refusal = await refusalOf(address, typeof options.tls === 'object' ? options.tls : options.tls ? {} : null);
  return refusal ? temporalRefuses(address, refusal) : temporalUnreachable(address, reasonOf(error));
}

const PROBE_MS = 2000;

/** A clause; null: nothing listens there. */
async function refusalOf(address: string, tls: TLSConfig | null): Promise<string | null> {
  const [, host, port] = /^(.*):(\d+)$/.exec(address) ?? [];
  if (!host || !port) return null;
  const place = { host: host.replace(/^\[|\]$/g, ''), port: Number(port), ALPNProtocols: ['h2'] };
  if (await failureOf(connectTcp(place), 'connect')) return null;
  if (!tls) {
    const isTls = !(await failureOf(connectTls({ ...place, rejectUnauthorized: false }), 'secureConnect'));
    return isTls
      ? 'it speaks TLS, which the settings do not ask for (TEMPORAL_TLS=true, or the TLS of a profile)'
      : 'what listens there does not speak as Temporal does';
  }
  const { serverNameOverride: servername, serverRootCACertificate: ca, clientCertPair: pair } = tls;
  const failed = await failureOf(
    connectTls({
      ...place,
      ...(servername ? { servername } : {}),
      ...(ca ? { ca: Buffer.from(ca) } : {}),
      ...(pair ? { cert: Buffer.from(pair.crt), key: Buffer.from(pair.key) } : {}),
    }),
    'secureConnect',
  );
  return failed
    ? `TLS fails: ${failed}`
    : 'it accepts TLS, and then not this client: it may want a client certificate (TEMPORAL_TLS_CLIENT_CERT_PATH, ..._KEY_PATH) or an API key (TEMPORAL_API_KEY)';
}

/** null: the event came in time. */
async function failureOf(socket: Socket, event: string): Promise<string | null> {
  try {
    await once(socket, event, { signal: AbortSignal.timeout(PROBE_MS) });
    return null;
  } catch (error) {
    return reasonOf(error);
  } finally {
    socket.on('error', () => {}).destroy();
  }
}
