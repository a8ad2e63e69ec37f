/**
 * How far a run is, from what it leaves in files: looked at every few milliseconds, so that it must cost nothing while
 * nothing happens.
 */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Harness, ServedRequest } from '../support/harness.js';
import type { Serving } from './faults/fault.js';
import type { Moment } from './faults/index.js';

export class Probe {
  private jobsSeen: string[] = [];
  private readonly steps = new Map<string, { size: number; count: number }>();
  private served: { size: number; all: ServedRequest[] } = { size: 0, all: [] };

  constructor(private readonly harness: Harness) {}

  reset(): void {
    this.jobsSeen = [];
  }

  reached(moment: Exclude<Moment, { in: 'continue-as-new' }>, runningMs: number): boolean {
    switch (moment.in) {
      case 'start':
        return runningMs >= moment.ms;
      case 'training': {
        const job = this.jobs()[moment.round];
        return job !== undefined && existsSync(join(job, 'state.json')) && this.stepsOf(job) >= moment.steps;
      }
      default:
        return this.requestsOf(moment.in) >= moment.requests;
    }
  }

  /** Job folders, in the order of the rounds. */
  jobs(): string[] {
    for (const job of this.harness.jobs()) if (!this.jobsSeen.includes(job)) this.jobsSeen.push(job);
    return this.jobsSeen;
  }

  private stepsOf(job: string): number {
    const path = join(job, 'steps.jsonl');
    const size = sizeOf(path);
    const known = this.steps.get(path);
    if (known?.size === size) return known.count;
    const count = this.harness.steps(job).length;
    this.steps.set(path, { size, count });
    return count;
  }

  private requestsOf(serving: Serving): number {
    const size = sizeOf(join(this.harness.folder, 'work/servers/local-deterministic/requests.jsonl'));
    if (size !== this.served.size) this.served = { size, all: this.harness.requests() };
    const withPrefix = (prefix: string) => this.served.all.filter(({ request }) => request?.startsWith(prefix));
    if (serving === 'sampling') return withPrefix('enrich:').length;
    if (serving === 'logprob') return withPrefix('logprob:').length;
    const evaluations = withPrefix('evaluate:');
    const models = [...new Set(evaluations.map(({ model }) => model))];
    return evaluations.filter(({ model }) => model === models[serving === 'evaluation 0' ? 0 : 1]).length;
  }

  /** Grows whenever a run makes progress. */
  progress(): number {
    const records = this.storedFiles('steps').length;
    const steps = this.harness.jobs().reduce((sum, job) => sum + this.harness.steps(job).length, 0);
    return records + steps + this.harness.requests().length + this.storedFiles('audit').length;
  }

  /** Paths of the store, below `folder`. */
  storedFiles(folder: string): string[] {
    const root = join(this.harness.artifactRoot, folder);
    for (let tries = 0; existsSync(root); tries++) {
      try {
        return readdirSync(root, { recursive: true }).map(String);
      } catch (error) {
        if (tries === 5) throw error; // A folder that is being deleted goes away while it is read.
      }
    }
    return [];
  }
}

const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

/** Absolute paths of all files, in order. */
export async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = entries.filter((entry) => entry.isFile());
  return files.map((entry) => join(entry.parentPath, entry.name)).sort();
}
