/** What a campaign prints: a line for each run, and a table at the end. */
import type { Report } from './chaos-harness.js';
import type { Work } from './checks.js';
import { describeFault, type Fault } from './faults/index.js';

export interface Job {
  number: number;
  faults: Fault[];
}

export const describeWork = ({ samples, logprobs, steps }: Work) =>
  `${samples} samples, ${logprobs} log-probabilities, ${steps} training steps`;

export function line(seed: number, { number, faults }: Job, report: Report): string {
  const { injections, parked, wrong, seconds, twice, chain } = report;
  const missed = injections.filter(({ injected }) => !injected).map(({ fault }) => fault);
  const what = faults.map((fault) => `${describeFault(fault)}${missed.includes(fault) ? ' [not reached]' : ''}`);
  const parks = parked.length > 0 ? `parked (${parked.join(', ')}), retried, ` : '';
  const end = wrong.length > 0 ? `WRONG: ${wrong.join('; ')}` : 'as undisturbed';
  const executions = `${chain.executions} executions${chain.retried > 0 ? `, ${chain.retried} retried at their end` : ''}`;
  return `${`${number}`.padStart(4)}  seed ${seed}: ${what.join(' + ')} -> ${parks}${end}; ${executions}; twice: ${describeWork(twice)}; ${seconds.toFixed(0)} s`;
}

export interface Summary {
  reports: readonly Report[];
  runs: number;
  kinds: readonly string[];
  /** Kinds that this machine does not allow. */
  impossible: ReadonlySet<string>;
  minutes: number;
}

export function table({ reports, runs, kinds, impossible, minutes }: Summary): string {
  const all = reports.flatMap(({ injections }) => injections);
  const rows = kinds.map((kind) => {
    const ofKind = all.filter(({ fault }) => fault.kind === kind);
    const injected = ofKind.filter((one) => one.injected);
    if (impossible.has(kind)) return [kind, 'not possible here: no file system of its own could be mounted', '', ''];
    return [kind, `${injected.length}`, `${ofKind.length - injected.length}`, longest(injected)];
  });
  const head = ['fault', 'injected', 'not reached', 'longest time to recover, s'];
  const widths = head.map((text, i) =>
    Math.max(text.length, ...rows.filter((row) => row[2] !== '').map((row) => row[i]!.length)),
  );
  const show = (row: string[]) =>
    row.map((text, i) => (i === 0 ? text.padEnd(widths[i]!) : text.padStart(widths[i]!))).join('  ');
  const parked = reports.filter((report) => report.parked.length > 0).length;
  const injected = all.filter((one) => one.injected);
  return [
    show(head),
    ...rows.map(show),
    '',
    `runs that ended as the undisturbed one: ${held(reports)} of ${runs} (${parked} of them parked and were retried)`,
    `faults injected: ${injected.length}; not reached, because the run was past them: ${all.length - injected.length}`,
    chains(reports),
    `computed twice: samples ${share(reports, 'samples')}, log-probabilities ${share(reports, 'logprobs')}, training steps ${share(reports, 'steps')}`,
    `longest time to recover: ${longest(injected)} s`,
    `${minutes.toFixed(1)} minutes`,
  ].join('\n');
}

/** Runs in which everything held. */
export const held = (reports: readonly Report[]) => reports.filter(({ wrong }) => wrong.length === 0).length;

function chains(reports: readonly Report[]): string {
  const executions = reports.reduce((sum, { chain }) => sum + chain.executions, 0);
  const retried = reports.reduce((sum, { chain }) => sum + chain.retried, 0);
  return `executions: ${executions}; continued as new in a workflow task that was started again, its worker lost or its completion refused: ${retried}`;
}

function longest(injections: Report['injections']): string {
  const times = injections.flatMap(({ recoveredMs }) => recoveredMs ?? []);
  return times.length === 0 ? '' : (Math.max(...times) / 1000).toFixed(1);
}

function share(reports: readonly Report[], what: keyof Work): string {
  const sum = (which: 'done' | 'twice') => reports.reduce((total, report) => total + report[which][what], 0);
  const [twice, done] = [sum('twice'), sum('done')];
  return `${twice} of ${done} (${((100 * twice) / Math.max(1, done)).toFixed(1)} %)`;
}
