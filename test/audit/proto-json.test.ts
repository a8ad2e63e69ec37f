import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { historyFromJSON } from '@temporalio/common/lib/proto-utils.js';
import { temporal } from '@temporalio/proto';
import { expect, it } from 'vitest';
import { eventsToJson } from '../../audit/proto-json.js';
import { packageRoot } from '../../processes/python.js';

const recorded = join(packageRoot, 'test/histories');
const { History } = temporal.api.history.v1;

/** What a client gets from the server: bytes that it decodes. */
const received = (history: unknown) =>
  History.decode(History.encode(History.fromObject(historyFromJSON(history))).finish());

it('gives every recorded history as the SDK has written it', () => {
  const files = readdirSync(recorded, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.json'));
  expect(files.length).toBeGreaterThan(10);
  for (const name of files) {
    const { history } = JSON.parse(readFileSync(join(recorded, name), 'utf8'));
    expect(eventsToJson(received(history)), name).toEqual(history.events);
  }
});

it('writes moments with as many digits as they need', () => {
  const at = (seconds: number, nanos: number) =>
    eventsToJson({ events: [{ eventTime: { seconds, nanos } as never }] })[0];
  expect(at(0, 0)).toEqual({ eventTime: '1970-01-01T00:00:00Z' });
  expect(at(1_700_000_000, 120_000_000)).toEqual({ eventTime: '2023-11-14T22:13:20.120Z' });
  expect(at(1_700_000_000, 120_400_000)).toEqual({ eventTime: '2023-11-14T22:13:20.120400Z' });
  expect(at(1_700_000_000, 1)).toEqual({ eventTime: '2023-11-14T22:13:20.000000001Z' });
  expect(eventsToJson(null)).toEqual([]);
});
