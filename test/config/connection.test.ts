/** What the environment and the deployment do to a client and its connection. */
import type { PayloadCodec } from '@temporalio/common';
import { afterEach, expect, it, vi } from 'vitest';
import { connect, lazyClient } from '../../config/connection.js';
import { resolveDeployment } from '../../config/load.js';
import { temporalAddress } from '../support/harness.js';

afterEach(() => vi.unstubAllEnvs());

it.each(['grpc_proxy', 'https_proxy', 'http_proxy'])('sends nothing for this machine through %s', async (name) => {
  vi.stubEnv('TEMPORAL_ADDRESS', await temporalAddress());
  vi.stubEnv(name, 'http://127.0.0.1:1');
  const { connection } = await connect(resolveDeployment({}, '/'));
  await connection.close();
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
  const codec: PayloadCodec = { encode: async (payloads) => payloads, decode: async (payloads) => payloads };
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
  expect(options.loadedDataConverter.payloadCodecs).toEqual([codec]);
  expect(options.interceptors.workflow).toEqual([interceptor]);
});

it('a converter that cannot be loaded is named in one sentence', () => {
  const deployment = resolveDeployment({ dataConverter: { failureConverterPath: '/no/such/file.cjs' } }, '/');
  expect(() => lazyClient(deployment)).toThrow(
    "temporal.config.ts: the client of Temporal cannot be made (Could not find a file at the specified failureConverterPath: '/no/such/file.cjs'). [config.invalid]",
  );
});
