import { expect, it } from 'vitest';
import { timeLeft } from '../../activities/progress.js';

it.each([
  ['two units', { done: 2, left: 8, seconds: 300 }, null],
  ['three units after 10 s, of many', { done: 3, left: 97, seconds: 10 }, null],
  ['three units after 30 s', { done: 3, left: 97, seconds: 30 }, 970],
  ['a fifth of the work, however quick', { done: 20, left: 80, seconds: 1 }, 4],
  ['nothing is left', { done: 5, left: 0, seconds: 1 }, 0],
  ['the total is not known', { done: 5, left: -5, seconds: 100 }, null],
])('%s', (_, progress, seconds) => {
  expect(timeLeft(progress)).toBe(seconds);
});
