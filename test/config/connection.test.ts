/** What the environment and the deployment do to a client and its connection. */
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import type { PayloadCodec } from '@temporalio/common';
import { afterEach, expect, it, vi } from 'vitest';
import { missingNamespace } from '../../client/away.js';
import { connect, lazyClient, unreachable } from '../../config/connection.js';
import { resolveDeployment } from '../../config/load.js';
import { temporalAddress } from '../support/harness.js';

afterEach(() => vi.unstubAllEnvs());

it.each(['grpc_proxy', 'https_proxy', 'http_proxy'])('sends nothing for this machine through %s', async (name) => {
  vi.stubEnv('TEMPORAL_ADDRESS', await temporalAddress());
  vi.stubEnv(name, 'http://127.0.0.1:1');
  const { connection } = await connect(resolveDeployment({}, '/'));
  await connection.close();
});

it('says why a server that listens gives no connection', async () => {
  const address = await temporalAddress();
  const silent = createServer((socket) => socket.on('error', () => {})).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const { port } = silent.address() as AddressInfo;
  try {
    await expect(refusal(`127.0.0.1:${port}`)).rejects.toThrow(
      `Something listens at 127.0.0.1:${port}, and no connection to Temporal comes about: what listens there does not speak as Temporal does. Set TEMPORAL_ADDRESS, TEMPORAL_TLS_*, TEMPORAL_API_KEY or the profile as the server asks. [temporal.unreachable]`,
    );
    vi.stubEnv('TEMPORAL_TLS', 'true');
    await expect(refusal(address)).rejects.toThrow(/no connection to Temporal comes about: TLS fails: /);
  } finally {
    silent.close();
  }

  async function refusal(at: string) {
    vi.stubEnv('TEMPORAL_ADDRESS', at);
    throw await unreachable(new Error('Failed to connect before the deadline'));
  }
});

it('names a file of Temporal settings that is not there', () => {
  vi.stubEnv('TEMPORAL_CONFIG_FILE', '/no/such/temporal.toml');
  vi.stubEnv('TEMPORAL_PROFILE', 'team');
  expect(() => lazyClient(resolveDeployment({}, '/'))).toThrow(
    'cannot be used: there is no file /no/such/temporal.toml, which TEMPORAL_CONFIG_FILE names.',
  );
});

it.each([
  ['5 NOT_FOUND: Namespace team-b is not found.', 'team-b'],
  ["Namespace not found: 'team-b'", 'team-b'],
  ['Namespace team-b was not found or otherwise could not be described: Status { code: NotFound }', 'team-b'],
  ['5 NOT_FOUND: workflow not found for ID: Namespace', null],
])('%s: is about the namespace %s', (message, name) => {
  expect(missingNamespace(new Error(message))).toBe(name);
});

it('a client has the plugins of the deployment, each once, its data converter and its interceptors', async () => {
  const calls: string[] = [];
  const plugin = {
    name: 'counting',
    configureConnection: <T>(options: T): T => {
      calls.push('connection');
      return options;
    },
    configureClient: <T>(options: T): T => {
      calls.push('client');
      return options;
    },
  };
  const codec: PayloadCodec = {
    encode: async (payloads) => payloads,
    decode: async (payloads) => {
      calls.push('decode');
      return payloads;
    },
  };
  const interceptor = {};
  const { options, connection } = lazyClient(
    resolveDeployment(
      {
        plugins: [plugin],
        dataConverter: { payloadCodecs: [codec] },
        interceptors: { client: { workflow: [interceptor] } },
      },
      '/',
    ),
  );
  await connection.close();
  expect(calls).toEqual(['connection', 'client']);
  await options.loadedDataConverter.payloadCodecs[0]?.decode([]);
  expect(calls).toEqual(['connection', 'client', 'decode']);
  expect(options.interceptors.workflow).toEqual([interceptor]);
});

it('a converter that cannot be loaded is named in one sentence', () => {
  const deployment = resolveDeployment({ dataConverter: { failureConverterPath: '/no/such/file.cjs' } }, '/');
  expect(() => lazyClient(deployment)).toThrow(
    "temporal.config.ts: the client of Temporal cannot be made (Could not find a file at the specified failureConverterPath: '/no/such/file.cjs'). [config.invalid]",
  );
});
