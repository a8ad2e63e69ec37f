/**
 * Metrics of runs, through the meter of Temporal's SDK: they appear where its own do (the deployment's
 * `worker.runtime`), are not counted again in a replay, and leave no trace in a history. Tags have few values.
 *   srlm_step_duration  histogram, seconds     srlm_gpu_duration   histogram, seconds; its sum is what was used
 *   srlm_rows           counter                srlm_tokens         counter: prompts, replies and training
 *   srlm_parks          counter                srlm_parks_ended    counter; runs parked now are the difference
 */
import { metricMeter } from '@temporalio/workflow';
import type { Usage } from '../contracts/refs.js';

// The SDK makes an instrument only within a workflow, and finds it again by its name.
const count = (name: string, unit: string, step: string, by: number) =>
  metricMeter.createCounter(name, unit).add(by, { step });
const measure = (name: string, step: string, seconds: number) =>
  metricMeter.createHistogram(name, 'float', 's').record(seconds, { step });

export function countStep(step: string, seconds: number, rows: number | null): void {
  // A clock that was set back makes a step seem shorter than nothing.
  measure('srlm_step_duration', step, Math.max(0, seconds));
  if (rows) count('srlm_rows', 'rows', step, rows);
}

export function countUsage(step: string, { tokens, gpuSeconds }: Usage): void {
  if (tokens > 0) count('srlm_tokens', 'tokens', step, Math.round(tokens));
  if (gpuSeconds > 0) measure('srlm_gpu_duration', step, gpuSeconds);
}

export const countPark = (step: string): void => count('srlm_parks', 'parks', step, 1);
export const countParkEnded = (step: string): void => count('srlm_parks_ended', 'parks', step, 1);
