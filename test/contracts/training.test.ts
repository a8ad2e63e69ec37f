import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { batchProblem, microBatchOf, Training } from '../../contracts/training.js';

const training = (batchSize: number, microBatchSize?: number) => Training.parse({ batchSize, microBatchSize });

describe('a batch', () => {
  it('is by default one pass over all processes', () => {
    expect(microBatchOf(training(16), 1)).toBe(16);
    expect(microBatchOf(training(16), 4)).toBe(4);
    expect(microBatchOf(training(2), 4)).toBe(1);
    expect(microBatchOf(training(16, 2), 4)).toBe(2);
  });

  it('must be a whole number of micro-batches on every process', () => {
    expect(batchProblem(training(16, 8), 2)).toBeNull();
    expect(batchProblem(training(16), 4)).toBeNull();
    expect(batchProblem(training(16, 5), 1)).toBe('batchSize 16 is not a multiple of microBatchSize 5');
    expect(batchProblem(training(16, 16), 2)).toBe('batchSize 16 is not a multiple of microBatchSize 16 x 2 processes');
    expect(batchProblem(training(3), 2)).toBe('batchSize 3 is not a multiple of microBatchSize 1 x 2 processes');
  });

  it('without a problem is trained whole: passes x processes x micro-batch', () =>
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 512 }),
        fc.option(fc.integer({ min: 1, max: 64 }), { nil: undefined }),
        fc.integer({ min: 1, max: 8 }),
        (batchSize, microBatchSize, processes) => {
          const settings = training(batchSize, microBatchSize);
          const passes = batchSize / (microBatchOf(settings, processes) * processes);
          expect(batchProblem(settings, processes) === null).toBe(Number.isInteger(passes));
        },
      ),
    ));
});
