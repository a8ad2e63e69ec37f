import { describe, expect, it } from 'vitest';
import {
  assertPerRound,
  assertUndecided,
  describeSettings,
  isAnyTime,
  type Place,
  withSettings,
} from '../../contracts/settings.js';
import { RunSettings, RunSpec, splitRunSpec } from '../../contracts/spec.js';

const SPEC = RunSpec.parse({ model: { path: 'm' }, data: { path: 'd' }, catalysts: 'none' });
const SETTINGS = splitRunSpec(SPEC).settings;
const at = (step: string, parked = true, round: number | null = 1): Place => ({
  ...{ round, step, parked },
  evaluated: false,
});
const undecided = (field: string, place: Place) => () => assertUndecided({ [field]: 1 }, place);

describe('settings', () => {
  it('are set in a copy, and checked as those of a spec are', () => {
    const changed = withSettings(SETTINGS, { 'sampling.k': 8, 'budget.tokens': 5 }, RunSettings);
    expect([changed.sampling.k, changed.budget.tokens, SETTINGS.sampling.k]).toEqual([8, 5, 4]);
    expect(withSettings(changed, { 'budget.tokens': null }, RunSettings).budget).toEqual({});
    expect(() => withSettings(SETTINGS, { 'sampling.k': 0 }, RunSettings)).toThrow(/^sampling\.k: /);
    expect(() => withSettings(SETTINGS, { 'sampling.kk': 1 }, RunSettings)).toThrow(
      'sampling.kk: there is no such field',
    );
    expect(() => withSettings(SETTINGS, { 'sampling.k.j': 1 }, RunSettings)).toThrow('sampling.k');
    for (const field of ['__proto__.k', 'sampling.constructor.prototype.k', 'toString'])
      expect(() => withSettings(SETTINGS, { [field]: 1 }, RunSettings)).toThrow(`${field}: there is no such field`);
    expect(({} as { k?: number }).k).toBeUndefined();
  });

  it('are no place for texts: prompts and paths are not fields of them', () => {
    for (const field of ['prompts.enrich', 'model.path', 'data.path', 'data.fields.id'])
      expect(() => withSettings(SETTINGS, { [field]: 'x' }, RunSettings)).toThrow('there is no such field');
  });

  it('may change at the parked step that uses them, and before it', () => {
    expect(undecided('sampling.maxTokens', at('sample'))).not.toThrow();
    expect(undecided('training.learningRate', at('sample'))).not.toThrow();
    expect(undecided('selection.selector', at('logprob (reference)'))).not.toThrow();
    expect(undecided('selection.selector', at('parse', false))).not.toThrow();
    expect(undecided('sampling.k', at('prepare', true, null))).not.toThrow();
  });

  it('may not change once a step of the round has used them, or is using them', () => {
    const why =
      'sampling.k was settled by sample of round 1: set it from the next round on (--from-round 2), or fork the run';
    expect(undecided('sampling.k', at('fineTune'))).toThrow(why);
    expect(undecided('sampling.k', at('sample', false))).toThrow(why);
    expect(undecided('selection.selector', at('select'))).toThrow('settled by logprob of round 1');
    expect(undecided('rationalizeEngine', at('rationalize', false, null))).toThrow(
      'rationalizeEngine was settled by rationalize: start another run',
    );
  });

  it('of the enrichment may change all through round 0, which has none', () => {
    expect(undecided('sampling.k', at('fineTune', false, 0))).not.toThrow();
    expect(undecided('selection.selector', at('evaluate', false, 0))).not.toThrow();
    expect(undecided('training.epochs', at('fineTune', false, 0))).toThrow('settled by fineTune of round 0');
    expect(undecided('sampling.chunkSize', at('fineTune', false, 0))).toThrow('settled when the run began');
  });

  it('that have fields are set field by field, and not reset as a whole', () => {
    for (const value of [null, {}, { tokens: 1 }])
      expect(() => withSettings(SETTINGS, { budget: value as never }, RunSettings)).toThrow('budget has fields');
    expect(() => withSettings(SETTINGS, { gate: null }, RunSettings)).toThrow('gate has fields');
  });

  it('are set as a whole where a map is one value', () => {
    const own = { model: 'reference', reduce: 'mean-prob', minus: 'nothing' };
    const changed = withSettings(SETTINGS, { 'selection.selector': own }, RunSettings);
    expect(changed.selection.selector).toEqual(own);
    expect(withSettings(changed, { 'selection.selector': null }, RunSettings)).toEqual(SETTINGS);
    expect(() => withSettings(SETTINGS, { 'selection.selector': { model: 'x' } }, RunSettings)).toThrow(
      'selection.selector.model: expected "reference" or "current", found "x"',
    );
  });

  it('that all rounds share may not change at all; those that no artifact depends on may at any time', () => {
    for (const field of ['seed', 'prompts.enrich', 'data.limit', 'sampling.chunkSize', 'nothing.of.that.name']) {
      expect(undecided(field, at('prepare', true, null))).toThrow('settled when the run began: start another run');
      expect(isAnyTime(field)).toBe(false);
    }
    for (const field of ['rounds', 'budget.tokens', 'approvals', 'engine', 'trainer']) {
      expect(undecided(field, at('gate', false))).not.toThrow();
      expect(isAnyTime(field)).toBe(true);
    }
  });

  it('that evaluations are compared by may change until there is an evaluation', () => {
    expect(undecided('evaluation.maxTokens', { ...at('evaluate'), evaluated: false })).not.toThrow();
    expect(undecided('evaluation.maxTokens', { ...at('evaluate'), evaluated: true })).toThrow(
      'settled by the first evaluation: start another run',
    );
    expect(undecided('gate.tolerance', { ...at('gate'), evaluated: true })).not.toThrow();
  });

  it('for a later round are those that a round uses', () => {
    expect(() => assertPerRound({ 'sampling.k': 8, 'training.epochs': 1 }, true)).not.toThrow();
    expect(() => assertPerRound({ seed: 1 }, false)).toThrow('seed is the same in all rounds of a run');
    expect(() => assertPerRound({ rationalizeEngine: 'a' }, false)).toThrow('rationalizeEngine is the same');
    expect(() => assertPerRound({ 'gate.confidence': 0.9 }, true)).toThrow('gate.confidence is the same in all rounds');
    expect(() => assertPerRound({ 'gate.confidence': 0.9 }, false)).not.toThrow();
  });

  it('are described as they are typed', () => {
    expect(describeSettings({ 'sampling.k': 8, engine: 'a' })).toBe('sampling.k = 8, engine = "a"');
  });
});
