/**
 * A study: its runs as children, a bounded number of them at work at once, and its result. Invariants:
 * - Runs that share work begin one after the other, so that it is done once (method/study/schedule.ts).
 * - A run that parks, waits or is paused leaves its place to another; it takes none back when it continues.
 * - A study that ends, however it ends, leaves its runs as they are, unless it is aborted or cancelled.
 * - A run of this study that exists already is waited for instead of started: a study that was ended by force is started
 *   again with the same id, and continues.
 */
import {
  ApplicationFailure,
  CancellationScope,
  condition,
  defineSignal,
  defineUpdate,
  getExternalWorkflowHandle,
  isCancellation,
  log,
  makeContinueAsNewFunc,
  setHandler,
  upsertMemo,
  workflowInfo,
} from '@temporalio/workflow';
import { STUDY_SIGNAL } from '../contracts/commands.js';
import {
  END_STUDY_UPDATE,
  EndStudy,
  type Shared,
  type StudyDone,
  StudyInput,
  type StudyMemo,
  StudyNote,
  StudyProgress,
} from '../contracts/study.js';
import { nextToBegin } from '../method/study/schedule.js';
import { parsed } from './chain.js';
import { patientCpu } from './steps/proxies.js';
import { type Child, newChild, reasonOf, startRun, watchRun } from './study-runs.js';

export async function srlmStudy(rawInput: StudyInput, rawProgress?: StudyProgress): Promise<StudyDone> {
  const input = parsed('study input', StudyInput, rawInput);
  const fresh: StudyProgress = { ended: [], begun: [], runs: null, end: null };
  const progress = rawProgress === undefined ? fresh : parsed('study progress', StudyProgress, rawProgress);
  return new Study(input, progress).run();
}

class Study {
  private readonly children = new Map<number, Child>();
  private order: Shared[] = [];
  private keeping: Promise<void> = Promise.resolve();
  /** Something has changed by which another run may begin. */
  private changed = false;
  private handsOver = false;
  private published = '';

  constructor(
    private readonly input: StudyInput,
    private readonly progress: StudyProgress,
  ) {
    // They run: what is not known of one yet is taken from its next report.
    for (const index of progress.begun) this.children.set(index, newChild());
    setHandler(defineSignal<[unknown]>(STUDY_SIGNAL), (raw) => this.note(raw));
    setHandler(
      defineUpdate<string, [EndStudy]>(END_STUDY_UPDATE),
      (raw) => {
        const end = EndStudy.parse(raw);
        if (this.progress.end?.how !== 'abort') this.progress.end = end;
        this.changed = true;
        return end.how;
      },
      {
        validator: (raw) => {
          if (!EndStudy.safeParse(raw).success) throw new Error('this is no order to end a study');
        },
      },
    );
  }

  async run(): Promise<StudyDone> {
    try {
      return await this.toEnd();
    } catch (error) {
      if (!isCancellation(error)) throw error;
      await CancellationScope.nonCancellable(() => this.cancelRuns());
      this.publish('aborted');
      throw error;
    }
  }

  private async toEnd(): Promise<StudyDone> {
    const { plan } = this.input;
    const order = await this.cpu('the order of the runs').srlmReadStudy({ plan });
    this.order = order.map(([prepare, round0, round1]) => ({ prepare, round0, round1 }));
    for (const index of this.children.keys()) this.begin(index);
    for (;;) {
      this.changed = false;
      this.handsOver ||= workflowInfo().continueAsNewSuggested;
      if (this.handsOver && [...this.children.values()].every(({ isRunning }) => isRunning)) await this.handOver();
      this.beginWhatMay();
      const { end } = this.progress;
      this.publish(end ? 'stopping' : 'running');
      if (end?.how === 'abort') await this.cancelRuns();
      const nothingWaits = end !== null || this.waiting().length === 0;
      if (nothingWaits && this.children.size === 0) break;
      await condition(() => this.changed);
    }
    await this.keeping;
    const { runs, end } = this.progress;
    const result = runs && (await this.result(runs));
    this.publish(end ? (end.how === 'abort' ? 'aborted' : 'stopped') : 'done');
    if (end?.how === 'abort') {
      const { who, why } = end;
      const message = `Aborted by ${who}${why ? `: ${why}` : ''}. All artifacts are kept.`;
      throw ApplicationFailure.nonRetryable(message, 'run.aborted');
    }
    return { plan, runs, result };
  }

  private waiting(): number[] {
    const { ended } = this.progress;
    return this.order.map((_, index) => index).filter((index) => !ended.includes(index) && !this.children.has(index));
  }

  private beginWhatMay(): void {
    if (this.progress.end || this.handsOver) return;
    for (;;) {
      const next = nextToBegin(this.order, this.waiting(), this.children, this.input.atOnce);
      if (next === null) return;
      this.children.set(next, newChild());
      this.begin(next);
    }
  }

  private begin(index: number): void {
    const ended = () => {
      this.changed = true;
    };
    void this.one(index).then(ended, ended); // It fails with the cancellation that ends the study, too.
  }

  /** One run from its start, or from where it is, to its end. */
  private async one(index: number): Promise<void> {
    const child = this.children.get(index)!;
    try {
      const { plan, config } = this.input;
      const summary = `run ${index + 1} of ${this.order.length}`;
      const { id, digest, input } = await this.cpu(summary).srlmReadStudyRun({ plan, index });
      child.id = id;
      // The study was ended meanwhile, and begins nothing more.
      if (this.progress.end && !this.progress.begun.includes(index)) {
        this.children.delete(index);
        return;
      }
      const study = { id: workflowInfo().workflowId, index };
      const isStarted = await startRun(id, digest, { ...input, config, study }, child);
      child.isRunning = true;
      this.changed = true;
      // A run that has ended reports before its history is exported; its place is free then.
      if (isStarted) await condition(() => child.ended !== null);
      else await watchRun(config, id, digest, child);
    } catch (error) {
      if (isCancellation(error)) throw error;
      child.ended ??= 'failed';
      child.message = reasonOf(error);
    }
    child.isRunning = false;
    this.keep(index, child);
    await this.keeping;
    this.progress.ended.push(index);
    this.children.delete(index);
  }

  private note(raw: unknown): void {
    const { data } = StudyNote.safeParse(raw);
    const child = data && this.children.get(data.index);
    if (!child) return;
    child.idle = data.idle;
    child.passed = data.passed;
    child.table = data.table ?? child.table;
    child.ended ??= data.ended;
    this.changed = true;
  }

  /** One after the other: each makes a new object of the one before. Never throws. */
  private keep(index: number, { ended, table, message }: Child): void {
    this.keeping = this.keeping.then(async () => {
      try {
        const run = { index, end: ended!, table, message: message?.slice(0, 1000) ?? null };
        const { runs } = this.progress;
        this.progress.runs = await this.cpu(`keep run ${index + 1}`).srlmKeepStudyRun({ runs, run });
      } catch (error) {
        log.warn(`run ${index} is missing in the result: ${reasonOf(error)}`);
      }
    });
  }

  private async result(runs: StudyDone['runs'] & object): Promise<StudyDone['result']> {
    try {
      return await this.cpu('the result').srlmStudyResult({ plan: this.input.plan, runs });
    } catch (error) {
      if (isCancellation(error)) throw error;
      log.warn(`there is no result: ${reasonOf(error)}`);
      return null;
    }
  }

  /** Temporal would send the cancellation to the execution that a run began with. */
  private async cancelRuns(): Promise<void> {
    const cancelling = [...this.children.values()].map(async (child) => {
      // One that has not begun yet is cancelled as soon as it has.
      if (!child.isRunning || child.ended !== null || child.isCancelled) return;
      child.isCancelled = true;
      await getExternalWorkflowHandle(child.id!)
        .cancel()
        .catch(() => {}); // It may have ended at the same moment.
    });
    await Promise.all(cancelling);
  }

  /** The next execution waits for the runs that have begun. Throws what continues as new. */
  private async handOver(): Promise<void> {
    await this.keeping;
    const progress = { ...this.progress, begun: [...this.children.keys()] };
    await makeContinueAsNewFunc<typeof srlmStudy>({})(this.input, progress);
  }

  private publish(phase: StudyMemo['phase']): void {
    const { ended, runs } = this.progress;
    const counts = { total: this.order.length, begun: ended.length + this.children.size, ended: ended.length };
    const memo: StudyMemo = { phase, plan: this.input.plan, ...counts, runs };
    const text = JSON.stringify(memo);
    if (text !== this.published) upsertMemo({ srlmStudy: memo });
    this.published = text;
  }

  private cpu = (summary: string) => patientCpu(this.input.config, summary);
}
