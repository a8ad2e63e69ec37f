import { describe, expect, it } from 'vitest';
import { assertPerRound, assertUndecided, withSettings } from '../../contracts/settings.js';
import { RunSpec } from '../../contracts/spec.js';

const SPEC = RunSpec.parse({ model: { path: 'm' }, data: { path: 'd' }, catalysts: 'none' });
const at = (step: string, parked = true, round: number | null = 1) => ({ round, step, parked, scored: false });
const undecided = (field: string, place: Parameters<typeof assertUndecided>[1]) => () =>
  assertUndecided({ [field]: 1 }, place);

describe('settings', () => {
  it('are set in a copy, and checked as a spec is', () => {
    const changed = withSettings(SPEC, { 'sampling.k': 8, 'budget.tokens': 5 }, RunSpec);
    expect([changed.sampling.k, changed.budget.tokens, SPEC.sampling.k]).toEqual([8, 5, 4]);
    expect(withSettings(changed, { 'budget.tokens': null }, RunSpec).budget).toEqual({});
    expect(() => withSettings(SPEC, { 'sampling.k': 0 }, RunSpec)).toThrow(/^sampling\.k: /);
    expect(() => withSettings(SPEC, { 'sampling.kk': 1 }, RunSpec)).toThrow('sampling.kk: there is no such field');
    expect(() => withSettings(SPEC, { 'sampling.k.j': 1 }, RunSpec)).toThrow('sampling.k');
    for (const field of ['__proto__.k', 'sampling.constructor.prototype.k', 'toString'])
      expect(() => withSettings(SPEC, { [field]: 1 }, RunSpec)).toThrow(`${field}: there is no such field`);
    expect(({} as { k?: number }).k).toBeUndefined();
  });

  it('may change at the parked step that works with them, and before it', () => {
    expect(undecided('sampling.maxTokens', at('sample'))).not.toThrow();
    expect(undecided('training.learningRate', at('sample'))).not.toThrow();
    expect(undecided('selection.selector', at('score (reference)'))).not.toThrow();
    expect(undecided('sampling.k', at('prepare', true, null))).not.toThrow();
  });

  it('may not change once a step of the round has worked with them, or does so now', () => {
    const why =
      'sampling.k was settled by sample of round 1: set it from the next round on (--from-round 2), or fork the run';
    expect(undecided('sampling.k', at('fineTune'))).toThrow(why);
    expect(undecided('sampling.k', at('sample', false))).toThrow(why);
    expect(undecided('selection.selector', at('select'))).toThrow('settled by score of round 1');
  });

  it('that all rounds share may not change at all; those that nothing was made with may at any time', () => {
    for (const field of ['seed', 'prompts.enrich', 'data.path', 'sampling.chunkSize', 'nothing.of.that.name'])
      expect(undecided(field, at('prepare', true, null))).toThrow('settled when the run began: fork the run');
    for (const field of ['rounds', 'budget.tokens', 'approvals', 'engine', 'trainer'])
      expect(undecided(field, at('gate', false))).not.toThrow();
  });

  it('that scores are compared by may change until there is a score', () => {
    expect(undecided('evaluation.maxTokens', { ...at('evaluate'), scored: false })).not.toThrow();
    expect(undecided('evaluation.maxTokens', { ...at('evaluate'), scored: true })).toThrow(
      'settled by the first score',
    );
  });

  it('for a later round are those that a round works with', () => {
    expect(() => assertPerRound({ 'sampling.k': 8, 'training.epochs': 1 }, true)).not.toThrow();
    expect(() => assertPerRound({ seed: 1 }, false)).toThrow('seed is the same in all rounds');
    expect(() => assertPerRound({ 'gate.confidence': 0.9 }, true)).toThrow('gate.confidence is the same in all rounds');
  });
});
