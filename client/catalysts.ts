/**
 * Before catalysts are built: everything that can be found wrong, and what the teacher will be asked. The data are stored
 * in the same pass. Needs no Temporal, and sends nothing. Throws the first Problem.
 */
import { newId } from '../config/run-id.js';
import { type CatalystInput, type CatalystSpec, splitCatalystSpec } from '../contracts/catalysts.js';
import type { Deployment } from '../contracts/deployment.js';
import type { Example } from '../contracts/rows.js';
import { type Cost, type Estimate, Estimator } from '../method/catalysts/estimate.js';
import { openStore } from '../storage/store.js';
import { type Checked, checkAsked, ingest } from './preflight.js';

/** `money`: by the prices of the teacher; null: it has none. */
export interface Price extends Cost {
  money: number | null;
}
export type CheckedCatalysts = Checked<CatalystInput> & { rows: number; estimate: Record<keyof Estimate, Price> };

export async function checkCatalysts(
  spec: CatalystSpec,
  deployment: Deployment,
  folder: string,
  runId = newId(spec.name),
): Promise<CheckedCatalysts> {
  const store = openStore(deployment);
  const { engine: teacher, warnings } = await checkAsked(spec, deployment, store, folder);
  const { settings, texts: specTexts } = splitCatalystSpec(spec);
  const texts = await store.objects.putJson(specTexts);
  const estimator = new Estimator(spec);
  const site = { store, texts, folder, runId, strict: false };
  const step = { kind: 'examples', source: 'data', chunkSize: spec.sampling.chunkSize } as const;
  const { file, rows, ...read } = await ingest(site, step, spec.data, (row: Example) => estimator.add(row));
  warnings.push(...read.warnings);
  if (rows < spec.count)
    warnings.push(
      `${spec.data.path} has ${rows} rows: there will be ${rows} catalysts at most, not ${spec.count}, since each is of another row.`,
    );
  const config = deployment.engines[spec.engine]!;
  const isPriced = config.kind === 'endpoint' && config.price !== undefined;
  const priced = (cost: Cost): Price => ({
    ...cost,
    money: isPriced ? teacher.money(cost.promptTokens, cost.completionTokens) : null,
  });
  const { likely, most } = estimator.estimate;
  const input = {
    ...{ version: 2 as const, kind: 'catalysts' as const, settings, texts, data: file },
    loadsModel: spec.model !== undefined,
  };
  return { runId, input, warnings, rows, estimate: { likely: priced(likely), most: priced(most) } };
}
