/**
 * Many runs, each with faults drawn from the seed, in one or more chaos harnesses side by side. Prints a line a run, then
 * returns a table. A run that is not as it should be leaves its folder behind, and the next one gets a new harness.
 */
import pLimit from 'p-limit';
import { ChaosHarness, type Report } from './chaos-harness.js';
import { kinds as ALL_KINDS, plan } from './faults/index.js';
import { describeWork, held, type Job, line, table } from './table.js';

export interface CampaignOptions {
  runs: number;
  seed: number;
  parallel: number;
  /** Only these, counted from 1. */
  only?: number[];
  faultsEach?: number;
  /** Default: all. */
  kinds?: string[];
  say: (line: string) => void;
}

export interface Campaign {
  /** Runs that ended as they should. */
  held: number;
  runs: number;
  /** Kinds of fault that were injected. */
  injected: string[];
  reports: Report[];
  table: string;
}

export async function campaign(options: CampaignOptions): Promise<Campaign> {
  const { runs, seed, parallel, only, faultsEach, kinds = ALL_KINDS, say } = options;
  const startedAt = Date.now();
  const last = Math.max(runs, ...(only ?? []));
  const jobs = plan(seed, last, faultsEach, kinds)
    .map((faults, i): Job => ({ number: i + 1, faults }))
    .filter(({ number }) => (only ? only.includes(number) : number <= runs));
  const reports: Report[] = [];
  const queue = [...jobs];
  const impossible = new Set<string>();
  const open = new Set<ChaosHarness>();
  const interrupted = () => {
    for (const chaos of open) chaos.abandon();
    process.exit(130);
  };
  process.once('SIGINT', interrupted);
  process.once('SIGTERM', interrupted);

  /** One run after the other: the first in a harness is the undisturbed one, by which its others are judged. */
  const slot = async (name: string) => {
    let chaos: ChaosHarness | null = null;
    for (let job = queue.shift(); job; job = queue.shift()) {
      if (!chaos) {
        chaos = await ChaosHarness.open(name);
        open.add(chaos);
        const { seconds, done } = await chaos.undisturbed();
        say(`      undisturbed: ${describeWork(done)}, ${seconds.toFixed(0)} s`);
      }
      const { fillable } = chaos;
      const faults = job.faults.filter(({ fills }) => fillable || !fills);
      for (const { kind } of job.faults.filter((fault) => !faults.includes(fault))) impossible.add(kind);
      const report = await chaos.run(`run-${job.number}`, faults).catch(failed);
      reports.push(report);
      say(line(seed, job, report));
      if (report.wrong.length === 0) continue;
      say(`      kept: ${chaos.harness.folder}`);
      if (!faultsEach) say(`      again: npm run chaos -- --seed ${seed} --only ${job.number}`);
      await chaos.close(true);
      open.delete(chaos);
      chaos = null;
    }
  };
  try {
    const limit = pLimit(parallel);
    await Promise.all(Array.from({ length: parallel }, (_, i) => limit(() => slot(String.fromCharCode(97 + i)))));
  } finally {
    process.off('SIGINT', interrupted);
    process.off('SIGTERM', interrupted);
    await Promise.all([...open].map((chaos) => chaos.close().catch(() => {})));
  }
  const all = reports.flatMap(({ injections }) => injections.filter(({ injected }) => injected));
  return {
    held: held(reports),
    runs: jobs.length,
    injected: [...new Set(all.map(({ fault }) => fault.kind))],
    reports,
    table: table({ reports, runs: jobs.length, kinds, impossible, minutes: (Date.now() - startedAt) / 60_000 }),
  };
}

function failed(error: unknown): Report {
  const none = { samples: 0, logprobs: 0, steps: 0 };
  const chain = { executions: 0, retried: 0 };
  return { injections: [], parked: [], wrong: [String(error)], seconds: 0, done: none, twice: none, chain };
}
