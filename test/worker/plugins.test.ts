import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Resource } from '@opentelemetry/resources';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { OpenTelemetryPlugin } from '@temporalio/interceptors-opentelemetry';
import { DefaultLogger, Runtime, type WorkerOptions } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SrlmClient } from '../../client/client.js';
import type { DeploymentInput } from '../../contracts/deployment.js';
import { encryption } from '../../encryption/index.js';
import { SrlmCpuPlugin, SrlmGpuPlugin, SrlmPlugin, SrlmWorkflowPlugin } from '../../worker/plugins.js';
import { startWorkers } from '../../worker/workers.js';
import { SteeredEndpoint } from '../support/endpoint.js';
import { temporalAddress } from '../support/harness.js';
import { freePorts } from '../support/temporal-server.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'srlm-plugins-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const teacher = (baseUrl = 'http://127.0.0.1:9/v1') => ({
  engines: { teacher: { kind: 'endpoint' as const, baseUrl, model: 'm' } },
});

describe('plugins', () => {
  const config = (name: string, more: DeploymentInput = {}): DeploymentInput => ({
    artifactRoot: join(folder, name),
    workRoot: join(folder, `${name}-work`),
    ...teacher(),
    ...more,
  });
  const options = (taskQueue: string, more: Partial<WorkerOptions> = {}): WorkerOptions => ({ taskQueue, ...more });

  it('make no folder before a worker is configured', () => {
    new SrlmPlugin(config('untouched'));
    expect(existsSync(join(folder, 'untouched'))).toBe(false);
  });

  it('refuse a config that cannot be used, and a queue that the work is not sent to', async () => {
    expect(() => new SrlmCpuPlugin({ shardsInFlight: 0 })).toThrow('shardsInFlight: ');
    const why = 'the worker polls the queue "mine", and this work is sent to "srlm';
    const mine = options('mine');
    expect(() => new SrlmWorkflowPlugin(config('queue')).configureWorker(mine)).toThrow(`${why}"`);
    expect(() => new SrlmCpuPlugin(config('queue')).configureWorker(mine)).toThrow(`${why}-cpu"`);
    await expect(new SrlmGpuPlugin(config('queue')).configureWorker(mine)).rejects.toThrow(`${why}-gpu"`);
  });

  it('leave activities of the same name, slots and workflows to the user', async () => {
    const srlmSelect = async () => 'mine';
    const asked = options('srlm', {
      activities: { srlmSelect, own: srlmSelect },
      workflowsPath: '/my/workflows.js',
      maxConcurrentActivityTaskExecutions: 7,
    });
    const made = await new SrlmPlugin(config('clash', { singleTaskQueue: true })).configureWorker(asked);
    expect(made.activities).toMatchObject({ srlmSelect, own: srlmSelect, srlmShard: expect.any(Function) });
    expect(made).toMatchObject({ workflowsPath: '/my/workflows.js', maxConcurrentActivityTaskExecutions: 7 });
    expect(made.workflowBundle).toBeUndefined();
  });

  it('use the bundle of the package unless something has to be bundled with it', () => {
    const plugin = new SrlmWorkflowPlugin(config('bundle'));
    const code = (more: Partial<WorkerOptions>) => plugin.configureWorker(options('srlm', more));
    expect(code({ plugins: [plugin] }).workflowBundle).toEqual({ codePath: expect.stringMatching(/bundle\.js$/) });
    const source = /dist.workflows.index\.js$/;
    expect(code({ interceptors: { workflowModules: ['/mine.js'] } }).workflowsPath).toMatch(source);
    expect(code({ dataConverter: { failureConverterPath: '/mine.js' } }).workflowsPath).toMatch(source);
    expect(code({ plugins: [plugin, { name: 'another' }] }).workflowsPath).toMatch(source);
    expect(plugin.configureReplayWorker({}).workflowBundle).toBeDefined();
  });

  it('leave no slots of their own beside a tuner', async () => {
    const tuner = {} as NonNullable<WorkerOptions['tuner']>;
    const made = await new SrlmGpuPlugin(config('tuner')).configureWorker(options('srlm-gpu', { tuner }));
    expect(made).not.toHaveProperty('maxConcurrentActivityTaskExecutions');
  });
});

it('workers use the data converter, plugins and interceptors of the deployment, and a runtime that is there already', async () => {
  const [metrics, port] = (await freePorts(2)) as [number, number];
  Runtime.install({
    logger: new DefaultLogger('ERROR'),
    telemetryOptions: { metrics: { prometheus: { bindAddress: `127.0.0.1:${metrics}` } } },
  });
  const spans = new InMemorySpanExporter();
  const spanProcessor = new SimpleSpanProcessor(spans);
  const tracer = new BasicTracerProvider({ spanProcessors: [spanProcessor] }).getTracer('test');
  const endpoint = await new SteeredEndpoint(port).open();
  const seen = new Set<string>();
  const address = await temporalAddress();
  process.env.TEMPORAL_ADDRESS = address;
  process.env.SRLM_TEST_KEY = 'ab'.repeat(32);
  const { client, deployment } = await site();
  const workers = await startWorkers(deployment, 'all', { identity: 'mine' });
  // Whoever stops a worker at once has stopped it.
  await (await startWorkers({ ...deployment, workRoot: join(folder, 'stopped') }, 'gpu')).stop();
  try {
    const file = join(import.meta.dirname, '../../examples/own-worker/prompts.jsonl');
    const { runId } = await client.startSample({ engine: 'teacher', data: { path: file }, sampling: { k: 1 } });
    const { candidates } = await client.sampleResult(runId);
    expect(candidates.rows).toBe(endpoint.answered.length);
    expect(seen).toContain('srlmShard');
    const names = spans.getFinishedSpans().map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(['RunWorkflow:srlmSample', 'RunActivity:srlmShard']));
    const { events } = await client.temporal.workflow.getHandle(runId).fetchHistory();
    expect(JSON.stringify(events)).toContain('"mine"');
    const plain = JSON.stringify(events, (_, value) =>
      value instanceof Uint8Array ? Buffer.from(value).toString() : value,
    );
    expect(plain).not.toContain('sha256');
    const scraped = await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text();
    expect(scraped).toMatch(/srlm_rows\{[^}]*step="sample"[^}]*\} \d/);
    expect(scraped).toMatch(/srlm_step_duration_sum\{[^}]*step="ingest prompts"/);
    expect(scraped).toContain('temporal_workflow_completed');
  } finally {
    await workers.stop();
    await client.close();
    await endpoint.close();
  }

  async function site() {
    const config: DeploymentInput = {
      taskQueue: `plugins-${process.pid}`,
      artifactRoot: join(folder, 'store'),
      workRoot: join(folder, 'work'),
      ...teacher(endpoint.baseUrl),
      dataConverter: encryption({ keys: ['SRLM_TEST_KEY'] }),
      plugins: [new OpenTelemetryPlugin({ resource: Resource.empty(), spanProcessor, tracer })],
      interceptors: {
        worker: {
          activity: [
            ({ info }) => ({
              inbound: {
                execute: (input, next) => {
                  seen.add(info.activityType);
                  return next(input);
                },
              },
            }),
          ],
        },
      },
    };
    const client = await SrlmClient.connect(config);
    return { client, deployment: client.deployment };
  }
}, 60_000);
