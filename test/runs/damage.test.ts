/**
 * What becomes of stored artifacts that are cut, altered or deleted: they are found before anything is computed from
 * them, set aside, and made again as they were. And what becomes of sound ones: they are never made again.
 */
import { readdirSync } from 'node:fs';
import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Dataset } from '../../contracts/artifacts.js';
import type { RunResult } from '../../contracts/steps.js';
import { Lab, labSpec, outcome } from '../support/lab.js';

describe('a finished run, started again', () => {
  let lab: Lab;
  let first: RunResult;
  let digests: Record<string, string>;

  beforeAll(async () => {
    lab = await Lab.open('damage');
    first = await lab.finish(await lab.start(labSpec(), 'first'));
    digests = await lab.digests();
    // Whatever needs an engine from now on has to start one.
    await lab.killModelServers();
  });

  afterAll(async () => {
    await lab.close();
  });

  const trained = () => Object.fromEntries(lab.jobs().map((job) => [job, lab.steps(job)]));
  const damaged = () =>
    readdirSync(lab.artifactRoot).includes('damaged') && readdirSync(join(lab.artifactRoot, 'damaged'));

  async function again(id: string) {
    const requests = lab.requests().length;
    const result = await lab.finish(await lab.start(labSpec(), id));
    const { warnings } = await lab.client.status(id);
    return { result, warnings, requests: lab.requests().slice(requests) };
  }

  it('finds every step done: no request, no trainer, no engine', async () => {
    const before = trained();
    const { result, warnings, requests } = await again('second');
    expect(outcome(result)).toEqual(outcome(first));
    expect(requests).toEqual([]);
    expect(trained()).toEqual(before);
    expect(lab.processes('.py')).toEqual([]);
    expect(warnings).toEqual([]);
    expect(await lab.digests()).toEqual(digests);
  });

  it('samples just the cut, altered and deleted chunks again, and ends with the same digests', async () => {
    const enriched = (await lab.records('sample')).find(({ inputs }) => purposeOf(inputs) === 'enrich');
    const [cut, altered, deleted] = await lab.chunkPaths(Dataset.parse(enriched?.output));
    await truncate(cut!, 100);
    await flipByte(altered!);
    await rm(deleted!);
    // With its decisions gone, selecting has to read the candidates.
    await rm((await lab.chunkPaths(first.rounds[1]!.decisions!))[0]!);

    const before = trained();
    const { result, warnings, requests } = await again('third');
    expect(outcome(result)).toEqual(outcome(first));
    expect(await lab.digests()).toEqual(digests);
    const rows = requests.map(({ request }) => request);
    expect(rows.every((request) => request.startsWith('enrich:1:'))).toBe(true);
    expect(rows).toHaveLength(12);
    expect(new Set(rows).size).toBe(12);
    expect(trained()).toEqual(before);
    expect(damaged()).toHaveLength(1);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(
      /^objects\/\w\w\/\w{64}\.jsonl: expected (\d+) bytes with digest \w{12}, found \1 with \w{12}\. It was set aside and is made again\. \[artifact\.damaged\]$/,
    );
  });

  it('trains altered weights again, and not on an altered mixture', async () => {
    const [zero] = first.rounds;
    const model = zero!.model.sha256;
    const trainedOn = (await lab.records('fineTune')).find(({ output }) => JSON.stringify(output).includes(model));
    const mixture = (await lab.records('mix')).find(
      ({ output }) => Dataset.parse(output).sha256 === (trainedOn!.inputs as { data: string }).data,
    );
    await flipByte(join(lab.artifactRoot, 'models', model, 'model.safetensors'));
    await flipByte((await lab.chunkPaths(Dataset.parse(mixture?.output)))[2]!);
    // With a reply gone, the weights are asked again.
    const replies = (await lab.records('sample')).find(
      ({ inputs }) => purposeOf(inputs) === 'answer' && (inputs as { weights: string }).weights === model,
    );
    await rm((await lab.chunkPaths(Dataset.parse(replies?.output)))[0]!);
    await lab.killModelServers();

    const { result, warnings, requests } = await again('fourth');
    expect(outcome(result)).toEqual(outcome(first));
    expect(await lab.digests()).toEqual(digests);
    expect(requests.map(({ request }) => request.split(':')[0])).toEqual(['answer', 'answer', 'answer', 'answer']);
    expect(warnings.map((warning) => warning.split('/')[0])).toEqual(['models', 'objects']);
  });

  it('parks when the copy of the data that was taken at its start is altered', async () => {
    await lab.killWorker();
    const runId = await lab.start(labSpec({ data: { path: 'train.jsonl', limit: 23 } }), 'fifth');
    const uploads = Object.keys(digests).filter((path) => path.endsWith('.raw'));
    const texts = await Promise.all(uploads.map((path) => readFile(join(lab.artifactRoot, path), 'utf8')));
    const upload = uploads[texts.findIndex((text) => text.includes('5 prawns'))]!;
    await flipByte(join(lab.artifactRoot, upload));
    await lab.startWorker();
    const { parked } = await lab.status(runId, 'the run is parked', ({ state }) => state === 'parked');
    expect(parked?.message).toBe(
      `train.jsonl: the copy that was taken when the run was started (${upload}) is gone or altered. Abort this run and start it anew. [data.damaged]`,
    );
    await lab.client.abort(runId);
  });
});

const purposeOf = (inputs: unknown) => (inputs as { purpose?: string }).purpose;

/** The same length, another byte. */
async function flipByte(path: string): Promise<void> {
  const content = await readFile(path);
  const at = content.length - 10;
  content[at] = content[at]! ^ 1;
  await writeFile(path, content);
}
