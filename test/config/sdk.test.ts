import { Client } from '@temporalio/client';
import { expect, it, vi } from 'vitest';
import { checkSdk } from '../../config/sdk.js';

const installed = vi.hoisted(() => ({ version: '' }));
vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>();
  const readFileSync = (...args: Parameters<typeof fs.readFileSync>) =>
    String(args[0]).endsWith('/@temporalio/client/package.json')
      ? JSON.stringify({ version: installed.version })
      : fs.readFileSync(...args);
  return { ...fs, readFileSync };
});

const client = Object.create(Client.prototype);

it.each(['1.17.9', '0.23.2', '2.18.0'])('refuses %s of the SDK', (version) => {
  installed.version = version;
  expect(() => checkSdk({ client })).toThrow(
    new RegExp(
      `^srlm needs @temporalio/client 1\\.18\\.0 or a later 1\\.x, and finds ${version} \\(/.+/@temporalio/client\\)\\. ` +
        'Install one version of all `@temporalio` packages\\. \\[temporal\\.sdk\\]$',
    ),
  );
});

it.each(['1.18.0', '1.24.3', '1.100.0'])('takes %s of the SDK, also in a subclass and a substitute', (version) => {
  installed.version = version;
  class Own extends Client {}
  for (const one of [client, Object.create(Own.prototype), { workflow: {} }])
    expect(() => checkSdk({ client: one })).not.toThrow();
});
