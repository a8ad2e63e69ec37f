/**
 * How Temporal shows a run: its memo (readable with no worker up), its search attributes, and its page in Temporal's UI.
 * All are pure functions of the run's state, except `publish`, which writes them.
 */
import { defineSearchAttributeKey } from '@temporalio/common';
import { setCurrentDetails, upsertMemo, upsertSearchAttributes, workflowInfo } from '@temporalio/workflow';
import { shellWord } from '../contracts/errors.js';
import { phaseOf, type RunMemo, type RunState } from '../contracts/run.js';
import type { RunControl } from './control/control.js';

const STATE = defineSearchAttributeKey('SrlmState', 'KEYWORD');
const STEP = defineSearchAttributeKey('SrlmStep', 'KEYWORD');
const ROUND = defineSearchAttributeKey('SrlmRound', 'INT');
const SCORE = defineSearchAttributeKey('SrlmScore', 'DOUBLE');

export function publish({ state, config, forkOf, report }: RunControl): void {
  upsertMemo({ srlm: memoOf(state, forkOf) });
  if (config.searchAttributes) {
    upsertSearchAttributes([
      { key: STATE, value: phaseOf(state) },
      { key: STEP, value: stepOf(state) },
      { key: ROUND, value: state.round },
      { key: SCORE, value: state.best?.evaluation?.accuracy ?? null },
    ]);
  }
  setCurrentDetails(detailsOf(state, workflowInfo().workflowId));
  report?.(state);
}

export function memoOf(state: RunState, forkOf: string | null): RunMemo {
  const { round, lastRound, halt, table } = state;
  return { phase: phaseOf(state), round, lastRound, step: stepOf(state), halt, table, forkOf };
}

const stepOf = ({ steps }: RunState): string | null => steps.at(-1)?.step ?? null;

/** Markdown. */
export function detailsOf(state: RunState, runId: string): string {
  const { halt, steps, round, lastRound, best, usage } = state;
  const phase = phaseOf(state);
  if (halt?.kind === 'parked') {
    const answers = ['retry', ...(halt.skippable ? ['skip'] : []), 'abort'];
    const commands = answers.map((answer) => `\`srlm ${answer} ${runId}\``).join(' or ');
    return [`**parked at ${halt.step}**`, halt.message, halt.kept, commands].filter(Boolean).join('\n\n');
  }
  if (halt?.kind === 'waiting')
    return `**waiting for approval: ${halt.approval}**\n\n\`srlm approve ${shellWord(runId)}\` or \`srlm reject ${shellWord(runId)}\``;
  const score = best?.evaluation
    ? [`best: round ${best.round}, ${(100 * best.evaluation.accuracy).toFixed(1)} % of held-out questions`]
    : [];
  const lines = steps.map(
    ({ step, state, seconds }) => `- ${step}: ${state}${seconds === null ? '' : ` (${seconds.toFixed(1)} s)`}`,
  );
  return [
    `**${phase}**${round === null || lastRound === null ? '' : ` · round ${round} of ${lastRound}`}`,
    ...(phase === 'paused' ? [`\`srlm resume ${shellWord(runId)}\``] : []),
    [...score, `${Math.round(usage.tokens)} tokens, ${Math.round(usage.gpuSeconds)} GPU seconds`].join('\n\n'),
    lines.join('\n'),
  ].join('\n\n');
}
