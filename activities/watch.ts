/**
 * The collapse watch: the numbers of one round, from the table of its candidates and from its graded replies. They are
 * measured once for the same rows; what compares rounds is read from the table of the run.
 */
import { Decision, Grade } from '../contracts/rows.js';
import { RoundTable, type StepDone } from '../contracts/steps.js';
import { RoundWatch } from '../contracts/watch.js';
import { WatchedCurves, WatchedSets, WatchInput } from '../contracts/watch-input.js';
import { watchChoices, watchReplies } from '../method/watch/index.js';
import { defined, share } from '../method/watch/numbers.js';
import { majorityGain, watchGain } from '../method/watch/others.js';
import { activity, type Deps } from './activity.js';
import { watchInputs } from './keys.js';
import { memoize } from './memoize.js';

export const srlmWatch = ({ store }: Deps) =>
  activity('watch', WatchInput, async (input, progress): Promise<StepDone<RoundWatch>> => {
    const { decisions, evaluation, table, set, selection } = input;
    progress.expect((decisions?.rows ?? 0) + (evaluation?.grades.rows ?? 0));
    const { output, meta } = await memoize(store, 'watch', watchInputs(input), RoundWatch, async () => {
      const choices = decisions ? await watchChoices(decisionChunks(), selection) : {};
      const replies = evaluation ? await watchReplies(store.datasets.rows(evaluation.grades, Grade)) : {};
      return { holds: [], output: { ...choices, ...replies } };
    });
    const { rounds } = table ? await store.objects.readJson(table, RoundTable) : { rounds: [] };
    const before = rounds.filter(({ round }) => round < input.round).at(-1)?.evaluation;
    const { report, curves } = input;
    const compared = defined({
      setChars: set.meanRationaleChars,
      enriched: share(set.enriched, set.rows),
      heldOutGain: evaluation && before ? evaluation.accuracy - before.accuracy : null,
      watchGain: report && watchGain(await store.objects.readJson(report, WatchedSets)),
      majorityGain: curves && majorityGain(await store.objects.readJson(curves, WatchedCurves)),
    });
    return { output: { ...output, ...compared }, meta };

    async function* decisionChunks(): AsyncGenerator<Decision[]> {
      for (const chunk of await store.datasets.chunks(decisions!)) {
        const rows = await store.objects.readRows(chunk, Decision);
        yield rows;
        progress.add(rows.length);
      }
    }
  });
