/** A planted collapse raises an alarm within one round of its start, and an undisturbed run raises none. */
import { describe, expect, it } from 'vitest';
import { alarms } from '../../method/watch/alarms.js';
import { type Plan, toyLoop } from './toy-loop.js';

const SOUND: Plan = { selector: 'off-policy', temperature: 0.7 };
const SHORTEST: Plan['selector'] = { combine: 'weights', of: ['length', 'length'], weights: [-1, 0] };
const ROUNDS = 6;
const SEEDS = [0, 1, 2];

const firstAlarm = (found: Awaited<ReturnType<typeof toyLoop>>) => alarms(found)[0]?.round ?? null;

describe.each(SEEDS)('with seed %i', (seed) => {
  it('six undisturbed rounds raise no alarm', async () => {
    expect(alarms(await toyLoop(seed, ROUNDS, () => SOUND))).toEqual([]);
  });
  it.each([1, 3])('candidates at temperature 0 from round %i on raise one at once', async (start) => {
    const plan = (round: number): Plan => (round < start ? SOUND : { ...SOUND, temperature: 0 });
    expect(firstAlarm(await toyLoop(seed, start + 1, plan))).toBe(start);
  });
  it.each([1, 3])('a selector of the shortest from round %i on raises one within a round', async (start) => {
    const plan = (round: number): Plan => (round < start ? SOUND : { ...SOUND, selector: SHORTEST });
    const round = firstAlarm(await toyLoop(seed, start + 1, plan));
    expect(round).toBeGreaterThanOrEqual(start);
    expect(round).toBeLessThanOrEqual(start + 1);
  });
});
