/** What the environment of a client can do to its connection. */
import { afterEach, it, vi } from 'vitest';
import { connect } from '../../config/connection.js';
import { temporalAddress } from '../support/harness.js';

afterEach(() => vi.unstubAllEnvs());

it.each(['grpc_proxy', 'https_proxy', 'http_proxy'])('sends nothing for this machine through %s', async (name) => {
  vi.stubEnv('TEMPORAL_ADDRESS', await temporalAddress());
  vi.stubEnv(name, 'http://127.0.0.1:1');
  const { connection } = await connect();
  await connection.close();
});
