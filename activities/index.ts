/** All activities by queue, bound to their dependencies. Names begin with `srlm`: they live beside a user's own. */
import type { Deps } from './activity.js';
import { srlmAddRationales } from './add-rationales.js';
import { srlmDrawCatalysts, srlmPickCatalysts } from './catalysts.js';
import { srlmCurves } from './curves.js';
import { srlmExport } from './export.js';
import { srlmFineTune } from './fine-tune.js';
import { srlmGate } from './gate.js';
import { srlmGrade } from './grade.js';
import { srlmIngest, srlmOpenSets } from './ingest.js';
import { srlmAnswerRows, srlmGradeLogprobs } from './likelihood.js';
import { srlmMix } from './mix.js';
import { srlmParse } from './parse.js';
import { srlmPrepareModel } from './prepare.js';
import { srlmReport } from './report.js';
import { srlmKeepRound, srlmReadRound } from './rounds.js';
import { srlmSelect } from './select.js';
import { srlmAssemble, srlmOpenStep, srlmShard } from './sharded.js';
import { srlmKeepStudyRun, srlmLookAtRun, srlmReadStudy, srlmReadStudyRun, srlmStudyResult } from './study.js';
import { srlmWatch } from './watch.js';

export function cpuActivities(deps: Deps) {
  return {
    srlmIngest: srlmIngest(deps),
    srlmOpenSets: srlmOpenSets(deps),
    srlmAddRationales: srlmAddRationales(deps),
    srlmOpenStep: srlmOpenStep(deps),
    srlmAssemble: srlmAssemble(deps),
    srlmParse: srlmParse(deps),
    srlmSelect: srlmSelect(deps),
    srlmMix: srlmMix(deps),
    srlmGrade: srlmGrade(deps),
    srlmAnswerRows: srlmAnswerRows(deps),
    srlmGradeLogprobs: srlmGradeLogprobs(deps),
    srlmReport: srlmReport(deps),
    srlmCurves: srlmCurves(deps),
    srlmWatch: srlmWatch(deps),
    srlmGate: srlmGate(deps),
    srlmKeepRound: srlmKeepRound(deps),
    srlmReadRound: srlmReadRound(deps),
    srlmExport: srlmExport(deps),
    srlmDrawCatalysts: srlmDrawCatalysts(deps),
    srlmPickCatalysts: srlmPickCatalysts(deps),
    srlmReadStudy: srlmReadStudy(deps),
    srlmReadStudyRun: srlmReadStudyRun(deps),
    srlmLookAtRun: srlmLookAtRun(deps),
    srlmKeepStudyRun: srlmKeepStudyRun(deps),
    srlmStudyResult: srlmStudyResult(deps),
  };
}

export function gpuActivities(deps: Deps) {
  return {
    srlmPrepareModel: srlmPrepareModel(deps),
    srlmShard: srlmShard(deps),
    srlmFineTune: srlmFineTune(deps),
    /** Which GPU host takes the next job: the first that answers. */
    srlmClaimHost: async () => ({ host: deps.deployment.host }),
  };
}

export type CpuActivities = ReturnType<typeof cpuActivities>;
export type GpuActivities = ReturnType<typeof gpuActivities>;
