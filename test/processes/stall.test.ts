/** When a process counts as stalled. Times are those of a clock that the test sets. */
import { expect, it } from 'vitest';
import { ProgressWatch } from '../../processes/stall.js';

const MINUTE = 60_000;

function watched(limitMs: number) {
  let now = 1000;
  const watch = new ProgressWatch(limitMs, () => now);
  const after = (ms: number, mark: string | null) => {
    now += ms;
    watch.look(mark);
    return watch;
  };
  return { watch, after };
}

it('stalls after a time without a new mark, and not before', () => {
  const { watch, after } = watched(MINUTE);
  after(5000, 'a');
  for (let looks = 0; looks < 11; looks++) after(5000, 'a');
  expect([watch.quietMs, watch.isStalled]).toEqual([55_000, false]);
  expect(after(5000, 'a').isStalled).toBe(true);
  expect(after(5000, 'b').isStalled).toBe(false);
});

it('stalls when it does not answer, whatever it answered before', () => {
  const { after } = watched(MINUTE);
  after(5000, 'a');
  for (let looks = 0; looks < 6; looks++) after(10_000, null);
  expect(after(0, 'a').isStalled).toBe(true);
});

it('is not stalled by a night in which the machine slept, or the one who looks', () => {
  const { watch, after } = watched(15 * MINUTE);
  after(5000, 'a');
  expect(after(8 * 60 * MINUTE, 'a').isStalled).toBe(false);
  expect(watch.quietMs).toBe(30_000);
  expect(after(5000, 'b').quietMs).toBe(0);
});

it('is not late with nothing to do', () => {
  const { watch, after } = watched(MINUTE);
  after(5000, 'a');
  after(30_000, 'a');
  after(29_000, 'a');
  watch.rest();
  expect(after(5000, 'a').quietMs).toBe(5000);
});
