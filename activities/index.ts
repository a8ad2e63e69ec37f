/** All activities by queue, bound to what they work with. Names begin with `srlm`: they live beside a user's own. */
import { type Deps, HOST } from './activity.js';
import { srlmAudit } from './audit.js';
import { srlmGate, srlmGrade } from './evaluate.js';
import { srlmFineTune } from './fine-tune.js';
import { srlmIngest } from './ingest.js';
import { srlmPrepareModel } from './prepare.js';
import { srlmMix, srlmRows, srlmSelect } from './select.js';
import { srlmOpenStep, srlmSealStep, srlmShard } from './shards.js';

export function cpuActivities(deps: Deps) {
  return {
    srlmIngest: srlmIngest(deps),
    srlmOpenStep: srlmOpenStep(deps),
    srlmSealStep: srlmSealStep(deps),
    srlmRows: srlmRows(deps),
    srlmSelect: srlmSelect(deps),
    srlmMix: srlmMix(deps),
    srlmGrade: srlmGrade(deps),
    srlmGate: srlmGate(deps),
    srlmAudit: srlmAudit(deps),
  };
}

export function gpuActivities(deps: Deps) {
  return {
    srlmPrepareModel: srlmPrepareModel(deps),
    srlmShard: srlmShard(deps),
    srlmFineTune: srlmFineTune(deps),
    /** Which GPU host takes the next job: whoever answers first. */
    srlmClaimHost: async () => ({ host: HOST }),
  };
}

export type CpuActivities = ReturnType<typeof cpuActivities>;
export type GpuActivities = ReturnType<typeof gpuActivities>;
