/**
 * What happens to stored artifacts that are cut, altered or deleted: they are found before anything is computed from
 * them, quarantined, and made again as they were. And what happens to sound ones: they are never made again.
 */
import { readdirSync } from 'node:fs';
import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DatasetIndex, DatasetRef, type StepRecord } from '../../contracts/refs.js';
import { IngestOutput } from '../../contracts/steps.js';
import { objectName } from '../../storage/objects.js';
import { recordName } from '../../storage/records.js';
import { unknownFiles } from '../chaos/at-rest.js';
import { type Finished, Harness, harnessSpec, outcome } from '../support/harness.js';

describe('a finished run, started again', { timeout: 240_000 }, () => {
  let harness: Harness;
  let first: Finished;
  let digests: Record<string, string>;

  beforeAll(async () => {
    harness = await Harness.open('damage');
    first = await harness.finish(await harness.start(harnessSpec(), 'first'));
    digests = await harness.digests();
    // From now on, what needs an engine has to start one.
    await harness.killModelServers();
  }, 600_000);

  afterAll(async () => {
    await harness?.close();
  });

  const trained = () => Object.fromEntries(harness.jobs().map((job) => [job, harness.steps(job)]));
  const quarantined = (ending: string) => {
    if (!readdirSync(harness.artifactRoot).includes('damaged')) return [];
    return readdirSync(join(harness.artifactRoot, 'damaged')).filter((name) => name.endsWith(ending));
  };
  const recordOf = async (step: string, matches: (record: StepRecord) => boolean): Promise<StepRecord> => {
    const found = (await harness.records(step)).find(matches);
    if (!found) throw new Error(`there is no such record of ${step}`);
    return found;
  };
  const sampled = (purpose: string, weights?: string) =>
    recordOf('sample', ({ inputs }) => {
      const { recipe } = inputs as { recipe: { purpose: string; weights: string } };
      return recipe.purpose === purpose && (weights === undefined || recipe.weights === weights);
    });
  /** The dataset of a step that counts, too. */
  const datasetOf = ({ output }: StepRecord) => DatasetRef.parse((output as { dataset?: unknown }).dataset ?? output);
  const chunksOf = (record: StepRecord) => harness.chunkPaths(datasetOf(record));
  /** The ids of the rows that a chunk of texts is about. */
  const idsIn = async (path: string): Promise<string[]> => {
    const lines = (await readFile(path, 'utf8')).trim().split('\n');
    return [...new Set(lines.map((line) => (JSON.parse(line) as { id: string }).id))];
  };

  async function again(id: string) {
    const requests = harness.requests().length;
    const result = await harness.finish(await harness.start(harnessSpec(), id));
    const { warnings } = await harness.client.status(id);
    // The tiny model writes without end.
    const others = warnings.filter((one) => !one.includes('were cut at maxTokens'));
    return { result, warnings: others, requests: harness.requests().slice(requests) };
  }

  it('has left files of the kinds only that `npm run chaos -- --at-rest` damages', () => {
    expect(unknownFiles(harness.folder)).toEqual([]);
  });

  it('reuses every step: no request, no trainer, no engine', async () => {
    const before = trained();
    const { result, warnings, requests } = await again('second');
    expect(outcome(result)).toEqual(outcome(first));
    expect(requests).toEqual([]);
    expect(trained()).toEqual(before);
    expect(harness.processes('.py')).toEqual([]);
    expect(warnings).toEqual([]);
    expect(await harness.digests()).toEqual(digests);
  });

  it('samples just the cut, altered and deleted chunks again, and ends with the same digests', async () => {
    const texts = await sampled('enrich');
    const chunks = await chunksOf(texts);
    const [cut, altered, deleted] = chunks;
    const asked = (await Promise.all(chunks.slice(0, 3).map(idsIn))).flat().length;
    await truncate(cut!, 100);
    await flipByte(altered!);
    await rm(deleted!);
    // With a chunk of its own gone, parsing has to read the texts.
    const parsed = await recordOf(
      'parse',
      ({ inputs }) => (inputs as { candidates: string }).candidates === datasetOf(texts).sha256,
    );
    await rm((await chunksOf(parsed))[0]!);

    const before = trained();
    const { result, warnings, requests } = await again('third');
    expect(outcome(result)).toEqual(outcome(first));
    expect(await harness.digests()).toEqual(digests);
    const rows = requests.map(({ request }) => request);
    expect(rows.every((request) => request.startsWith('enrich:1:'))).toBe(true);
    expect(rows).toHaveLength(asked);
    expect(new Set(rows).size).toBe(asked);
    expect(trained()).toEqual(before);
    expect(quarantined('.jsonl')).toHaveLength(1);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(
      /^Made again: objects\/\w\w\/\w{64}\.jsonl: expected (\d+) bytes with digest \w{12}, found \1 with \w{12}\. \[artifact\.damaged\]$/,
    );
  });

  it('does again what has a torn record or an altered page of its index, and asks and trains nothing', async () => {
    const [mixture] = await harness.records('mix');
    const selected = await recordOf('select', () => true);
    const index = await readFile(jsonPath(DatasetRef.parse(mixture!.output).sha256), 'utf8');
    const page = jsonPath((JSON.parse(index) as DatasetIndex).pages[0]!.sha256);
    await flipByte(page);
    await truncate(join(harness.artifactRoot, recordName('select', selected.key)), 50);

    const before = trained();
    const { result, warnings, requests } = await again('fourth');
    expect(outcome(result)).toEqual(outcome(first));
    expect(await harness.digests()).toEqual(digests);
    expect(requests).toEqual([]);
    expect(trained()).toEqual(before);
    expect(warnings).toEqual([]);
  });

  it('trains altered weights again, and not on an altered mixture', async () => {
    const [zero] = first.rounds;
    const model = zero!.model.sha256;
    const trainedOn = await recordOf('fineTune', ({ output }) => JSON.stringify(output).includes(model));
    const mixture = await recordOf(
      'mix',
      ({ output }) => DatasetRef.parse(output).sha256 === (trainedOn.inputs as { data: string }).data,
    );
    await flipByte(join(harness.artifactRoot, 'models', model, 'model.safetensors'));
    await flipByte((await chunksOf(mixture))[2]!);
    // With a reply gone, the weights are asked again.
    const [replies] = await chunksOf(await sampled('evaluate', model));
    const asked = await idsIn(replies!);
    await rm(replies!);
    await harness.killModelServers();

    const { result, warnings, requests } = await again('fifth');
    expect(outcome(result)).toEqual(outcome(first));
    expect(await harness.digests()).toEqual(digests);
    expect(requests.map(({ request }) => request.split(':')[0])).toEqual(asked.map(() => 'evaluate'));
    expect(warnings.map((warning) => warning.split('/')[0])).toEqual(['Made again: models', 'Made again: objects']);
    expect(harness.steps(join(harness.artifactRoot, 'jobs', trainedOn.key)).length).toBeGreaterThan(0);
  });

  it('parks when the stored copy of its data and a chunk made from it are damaged, until the file is stored again', async () => {
    await harness.killWorker();
    const limited = (limit: number) => harnessSpec({ data: { path: 'train.jsonl', limit }, rounds: 0 });
    const runId = await harness.start(limited(23), 'sixth');
    const ingested = (await harness.records('ingest')).at(-1)!;
    const { dataset } = IngestOutput.parse(ingested.output);
    expect(dataset.rows).toBe(23);
    const [last] = (await harness.chunkPaths(dataset)).slice(-1);
    await truncate(last!, 10);
    const { file } = ingested.inputs as { file: string };
    await flipByte(join(harness.artifactRoot, objectName('file', file)));
    await harness.startWorker();
    const { halt } = await harness.status(runId, 'the run is parked', ({ state }) => state === 'parked');
    expect(halt).toMatchObject({ step: 'ingest examples', skippable: false });
    expect(halt).toHaveProperty(
      'message',
      `train.jsonl: the copy that was stored when the run was started (${file.slice(0, 12)}) is missing or altered. Start a run with the same file, which stores it again, then \`srlm retry\` this one. If it is then missing again, the worker uses another artifactRoot than the one that you start runs from. [data.damaged]`,
    );

    const other = await harness.start(limited(22), 'seventh');
    await harness.client.abort(other);
    await harness.client.send(runId, 'retry', { why: 'it is stored again' });
    await harness.status(runId, 'its data is ingested', ({ steps }) => steps.some(({ step }) => step === 'mix'));
    expect((await harness.store.records.find('ingest', ingested.key))?.output).toEqual(ingested.output);
    expect((await readFile(last!, 'utf8')).trim().split('\n')).toHaveLength(3);
    await harness.client.abort(runId);
  });

  const jsonPath = (sha256: string) => join(harness.artifactRoot, objectName('json', sha256));
});

/** The same length, another byte. */
async function flipByte(path: string): Promise<void> {
  const content = await readFile(path);
  const at = content.length - 10;
  content[at] = content[at]! ^ 1;
  await writeFile(path, content);
}
