/**
 * The rounds of a run, read from its histories: where each one starts and why there, how it ended, what the gate
 * decided, and where a damaged object made the run repeat its steps. Pure.
 */
import { z } from 'zod';
import { ReportInput, ReportOutput } from '../contracts/report.js';
import { OperatorRecord, RunInput, RunProgress } from '../contracts/run.js';
import { GateInput, GateOutput, KeepRoundInput, RoundSummary } from '../contracts/steps.js';
import { RoundWatch } from '../contracts/watch.js';
import { alarms } from '../method/watch/alarms.js';
import { type Event, isoOf, rootOf, secondsBetween } from './events.js';
import type { Activity } from './steps-of-history.js';
import type { EntryLog, EntryOf } from './timeline.js';

const WatchDone = z.object({ output: RoundWatch });

type RoundEnd = EntryOf<'round-ended'>['state'];

export class RoundReader {
  /** The round that the execution is in; null: none yet. */
  current: number | null = null;
  private started: EntryOf<'round-started'> | null = null;
  /** The newest summary of each round. */
  private readonly finished = new Map<number, RoundSummary>();
  /** By round, in the order in which they were measured. */
  private readonly watched = new Map<number, RoundWatch>();
  private progress: RunProgress | null = null;
  private record: OperatorRecord | null = null;
  private isFork = false;
  private startModel: string | null = null;
  private damage: string | null = null;
  /** What the round that is running has reported. */
  private reported: Reported = {};

  constructor(private readonly log: EntryLog) {}

  /** `args`: what the execution was started with. */
  startExecution([input, record, progress]: readonly unknown[]): void {
    this.isFork = RunInput.safeParse(input).data?.fork != null;
    this.record = OperatorRecord.safeParse(record).data ?? null;
    this.progress = RunProgress.safeParse(progress).data ?? null;
    this.damage = null;
    this.current = null;
  }

  enter(event: Event, round: number | null): void {
    if (round === this.current) return;
    this.current = round;
    if (round === null) return;
    const { head } = this.progress ?? {};
    this.started = this.log.add(event, round, 'round-started', {
      from: head?.round ?? null,
      model: head?.model.sha256 ?? this.startModel,
      data: head?.set.dataset.sha256 ?? null,
      because: null,
    });
    this.explain();
  }

  /** The execution that prepares is not started with a head: the first step of round 0 shows the data. */
  scheduled({ type, input }: Activity): void {
    if (!this.started || type !== 'srlmMix') return;
    this.started.data ??= (input as { data?: { sha256?: string } } | null)?.data?.sha256 ?? null;
  }

  closed(event: Event, { type, input, output, isDone, failure }: Activity): void {
    const root = failure ? rootOf(failure) : null;
    if (root?.type === 'artifact.damaged') this.damage ??= root.message;
    if (!isDone) return;
    if (type === 'srlmPrepareModel') this.startModel = (output as { sha256?: string } | null)?.sha256 ?? null;
    if (type === 'srlmWatch' && this.current !== null) {
      const { output: watch } = WatchDone.safeParse(output).data ?? {};
      if (watch) this.watched.set(this.current, watch);
    }
    if (type === 'srlmGate') this.addGate(event, input, output);
    if (type === 'srlmReport') this.reported = reportedIn(input, output);
    if (type === 'srlmReadRound') this.promoted(RoundSummary.safeParse(output).data);
    if (type === 'srlmKeepRound') this.kept(event, KeepRoundInput.safeParse(input).data?.round);
  }

  private promoted(summary: RoundSummary | undefined): void {
    if (!summary || !this.started) return;
    this.started.from = summary.round;
    this.started.model = summary.model.sha256;
    this.started.data = summary.set.dataset.sha256;
    this.explain();
  }

  private kept(event: Event, summary: RoundSummary | undefined): void {
    if (!summary) return;
    this.finished.set(summary.round, summary);
    // Kept a second time when somebody has rejected it.
    if (this.started) this.end(event, 'done', summary);
  }

  /** The execution continues as another one. `args`: what that one is started with. */
  continued(event: Event, [, , progress]: readonly unknown[]): void {
    const next = RunProgress.safeParse(progress).data;
    if (!next || next.repairs <= (this.progress?.repairs ?? 0)) return;
    this.end(event, 'interrupted');
    this.log.add(event, this.current, 'repair', { message: this.damage ?? 'A stored object is missing or altered.' });
  }

  /** The round that is running, if one is, ends like this. */
  end(event: Event, state: RoundEnd, summary: RoundSummary | null = null): void {
    if (!this.started) return;
    const { at, round } = this.started;
    const seconds = secondsBetween(at, isoOf(event));
    const watch = this.watched.get(round!) ?? null;
    const all = [...this.watched].map(([of, numbers]) => ({ round: of, watch: numbers }));
    const found = summary ? alarms(all).filter((alarm) => alarm.round === round) : [];
    const shown = { watch, alarms: found.map(({ text }) => text) };
    this.log.add(event, round, 'round-ended', {
      state,
      seconds,
      summary: summary && { ...shortened(summary), ...shown, ...this.reported },
    });
    this.reported = {};
    this.started = null;
  }

  private addGate(event: Event, input: unknown, output: unknown): void {
    const asked = GateInput.safeParse(input).data;
    const answer = GateOutput.safeParse(output).data;
    if (!asked || !answer) return;
    const { best, current, gate } = asked;
    const accuracies = {
      best: best?.accuracy ?? null,
      current: current?.accuracy ?? null,
      tolerance: gate.tolerance,
    };
    this.log.add(event, this.current, 'gate', { ...answer, ...accuracies });
  }

  /** Why a round does not start from the one before it. An operator's verdict overrides the gate's. */
  private explain(): void {
    const { started, record } = this;
    const before = started && this.finished.get(started.round! - 1);
    if (!started || !before || started.from === before.round) return;
    const { round, from } = started;
    const said = this.log.findLast('intervention', ({ command, fields, step, round: at }) =>
      command === 'promote'
        ? fields.round === from && at !== null && at >= before.round
        : command === 'reject' && step === 'after-round' && at === before.round,
    );
    const override = record?.overrides.findLast((one) => one.before === round);
    const who = said?.who ?? (this.isFork ? 'an operator of the parent run' : 'an operator');
    if (!said && !override) started.because = `round ${before.round} was rolled back`;
    else if (said?.command === 'promote' || override?.verdict === 'promote')
      started.because = `${who} promoted round ${from}`;
    else started.because = `${who} rejected round ${before.round}`;
  }
}

type Reported = Pick<NonNullable<EntryOf<'round-ended'>['summary']>, 'others' | 'comparisons'>;

function reportedIn(input: unknown, output: unknown): Reported {
  const { others = {} } = ReportInput.safeParse(input).data ?? {};
  const { comparisons = [] } = ReportOutput.safeParse(output).data ?? {};
  return {
    ...(Object.keys(others).length > 0 ? { others } : {}),
    ...(comparisons.length > 0 ? { comparisons } : {}),
  };
}

function shortened({ set, model, trainLoss, evaluation }: RoundSummary) {
  const { dataset, enriched, rows } = set;
  const short = evaluation && {
    accuracy: evaluation.accuracy,
    total: evaluation.total,
    low: evaluation.low,
    high: evaluation.high,
  };
  return { model: model.sha256, data: dataset.sha256, enriched, rows, trainLoss, evaluation: short };
}
