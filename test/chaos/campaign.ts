/**
 * Many runs, each with faults drawn from the seed, in one or more arenas side by side. Says a line a run, then gives
 * a table. A run that is not as it should be leaves its arena's folder behind, and the next one gets a new arena.
 */
import pLimit from 'p-limit';
import { Arena, type Report, type Twice } from './arena.js';
import { type Fault, kinds, plan, tell } from './faults.js';

export interface CampaignOptions {
  runs: number;
  seed: number;
  parallel: number;
  /** Just these, counted from 1. */
  only?: number[];
  faultsEach?: number;
  say: (line: string) => void;
}

export interface Campaign {
  /** Runs that ended as they should. */
  held: number;
  runs: number;
  /** Kinds of fault that a run met. */
  met: string[];
  table: string;
}

interface Job {
  number: number;
  faults: Fault[];
}

export async function campaign({
  runs,
  seed,
  parallel,
  only,
  faultsEach,
  say,
}: CampaignOptions): Promise<Campaign & { reports: Report[] }> {
  const startedAt = Date.now();
  const last = Math.max(runs, ...(only ?? []));
  const jobs = plan(seed, last, faultsEach)
    .map((faults, i): Job => ({ number: i + 1, faults }))
    .filter(({ number }) => (only ? only.includes(number) : number <= runs));
  const reports: Report[] = [];
  const queue = [...jobs];
  const impossible = new Set<string>();
  const open = new Set<Arena>();
  const interrupted = () => {
    for (const arena of open) arena.abandon();
    process.exit(130);
  };
  process.once('SIGINT', interrupted);
  process.once('SIGTERM', interrupted);

  /** One after the other: an arena's first run is the undisturbed one, by which its others are judged. */
  const slot = async (name: string) => {
    let arena: Arena | null = null;
    for (let job = queue.shift(); job; job = queue.shift()) {
      if (!arena) {
        arena = await Arena.open(name);
        open.add(arena);
        const { seconds, done } = await arena.undisturbed();
        say(`      undisturbed: ${told(done)}, ${seconds.toFixed(0)} s`);
      }
      const { fillable } = arena;
      const faults = job.faults.filter(({ fills }) => fillable || !fills);
      for (const { kind } of job.faults.filter((fault) => !faults.includes(fault))) impossible.add(kind);
      const report = await arena.run(`run-${job.number}`, faults).catch(failed);
      reports.push(report);
      say(line(seed, job, report));
      if (report.wrong.length === 0) continue;
      say(`      kept: ${arena.lab.folder}`);
      if (!faultsEach) say(`      again: npm run chaos -- --seed ${seed} --only ${job.number}`);
      await arena.close(true);
      open.delete(arena);
      arena = null;
    }
  };
  try {
    const limit = pLimit(parallel);
    await Promise.all(Array.from({ length: parallel }, (_, i) => limit(() => slot(String.fromCharCode(97 + i)))));
  } finally {
    process.off('SIGINT', interrupted);
    process.off('SIGTERM', interrupted);
    await Promise.all([...open].map((arena) => arena.close().catch(() => {})));
  }
  const met = reports.flatMap(({ struck }) => struck.filter((one) => one.met).map(({ fault }) => fault.kind));
  const held = reports.filter(({ wrong }) => wrong.length === 0).length;
  const minutes = (Date.now() - startedAt) / 60_000;
  return {
    held,
    runs: jobs.length,
    met: [...new Set(met)],
    table: table(reports, jobs.length, impossible, minutes),
    reports,
  };
}

function failed(error: unknown): Report {
  const none = { samples: 0, scores: 0, steps: 0 };
  return { struck: [], parked: [], wrong: [String(error)], seconds: 0, done: none, twice: none };
}

const told = ({ samples, scores, steps }: Twice) => `${samples} samples, ${scores} scores, ${steps} steps`;

function line(seed: number, { number, faults }: Job, { struck, parked, wrong, seconds, twice }: Report): string {
  const missed = struck.filter(({ met }) => !met).map(({ fault }) => fault);
  const what = faults.map((fault) => `${tell(fault)}${missed.includes(fault) ? ' [not met]' : ''}`).join(' + ');
  const end = wrong.length > 0 ? `WRONG: ${wrong.join('; ')}` : 'as undisturbed';
  const parks = parked.length > 0 ? `parked (${parked.join(', ')}), retried, ` : '';
  return `${`${number}`.padStart(4)}  seed ${seed}: ${what} -> ${parks}${end}; twice: ${told(twice)}; ${seconds.toFixed(0)} s`;
}

function table(reports: Report[], runs: number, impossible: Set<string>, minutes: number): string {
  const all = reports.flatMap(({ struck }) => struck);
  const seconds = (ms: number | null) => (ms === null ? '' : (ms / 1000).toFixed(1));
  const longest = (of: typeof all) =>
    of.reduce<number | null>(
      (most, { recoveredMs }) => (recoveredMs === null ? most : Math.max(most ?? 0, recoveredMs)),
      null,
    );
  const rows = kinds.map((kind) => {
    const of = all.filter(({ fault }) => fault.kind === kind);
    const met = of.filter((one) => one.met);
    if (impossible.has(kind)) return [kind, 'not possible here: no file system of its own could be mounted', '', ''];
    return [kind, `${met.length}`, `${of.length - met.length}`, seconds(longest(met))];
  });
  const head = ['fault', 'injected', 'not met', 'longest time to recover, s'];
  const widths = head.map((text, i) =>
    Math.max(text.length, ...rows.filter((row) => row[2] !== '').map((row) => row[i]!.length)),
  );
  const show = (row: string[]) =>
    row.map((text, i) => (i === 0 ? text.padEnd(widths[i]!) : text.padStart(widths[i]!))).join('  ');
  const held = reports.filter(({ wrong }) => wrong.length === 0).length;
  const sum = (of: 'done' | 'twice', what: keyof Twice) =>
    reports.reduce((total, report) => total + report[of][what], 0);
  const share = (what: keyof Twice) => {
    const [twice, done] = [sum('twice', what), sum('done', what)];
    return `${twice} of ${done} (${((100 * twice) / Math.max(1, done)).toFixed(1)} %)`;
  };
  const parked = reports.filter((report) => report.parked.length > 0).length;
  return [
    show(head),
    ...rows.map(show),
    '',
    `runs completed, as the undisturbed one: ${held} of ${runs} (${parked} of them parked and were retried)`,
    `faults injected: ${all.filter(({ met }) => met).length}; not met, because the run was past them: ${all.filter(({ met }) => !met).length}`,
    `done twice: samples ${share('samples')}, scores ${share('scores')}, training steps ${share('steps')}`,
    `longest time to recover: ${seconds(longest(all.filter(({ met }) => met)))} s`,
    `${minutes.toFixed(1)} minutes`,
  ].join('\n');
}
