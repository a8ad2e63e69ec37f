/** One GPU worker for a workRoot and a device. */
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from '@temporalio/worker';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { resolveDeployment } from '../../config/load.js';
import { identityOf } from '../../processes/detached.js';
import { lockGpu, visibleDevices } from '../../worker/gpu-lock.js';
import { SrlmGpuPlugin } from '../../worker/plugins.js';
import { python } from '../support/python.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'srlm-test-gpu-'));
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true, force: true });
});

const config = () => ({
  python,
  host: 'gpu-1',
  workRoot: 'work',
  // Other tests may use a device of this machine meanwhile.
  engines: { local: { kind: 'builtin' as const, device: 'cpu' as const } },
  trainers: { local: { device: 'cpu' as const } },
});
const deployment = () => resolveDeployment(config(), folder);

it('refuses a second worker of this host, with the process that has it', async () => {
  const lock = await lockGpu(deployment());
  const holder = { pid: process.ppid, host: 'gpu-1', ...(await identityOf(process.ppid)) };
  writeFileSync(join(folder, 'work/gpu.json'), JSON.stringify(holder));
  await expect(lockGpu(deployment(), 0)).rejects.toThrow(
    `Process ${process.ppid} of this host already works with this workRoot. Stop it, or give each worker its own CUDA_VISIBLE_DEVICES, workRoot and host. [gpu.taken]`,
  );
  // It holds what another has by now: its release takes nothing away from that one.
  await lock.release();
  expect(readdirSync(join(folder, 'work'))).toEqual(['gpu.json']);
});

it('lets another worker have what a worker has released, or a killed one has left', async () => {
  const lock = await lockGpu(deployment());
  await lock.release();
  expect(readdirSync(join(folder, 'work'))).toEqual([]);
  const killed = { pid: 2 ** 22 + 1, host: 'gpu-1', ...(await identityOf(process.ppid)) };
  writeFileSync(join(folder, 'work/gpu.json'), JSON.stringify(killed));
  await (await lockGpu(deployment())).release();
});

it('does not look at a worker of another host', async () => {
  const file = join(folder, 'work/gpu.json');
  const lock = await lockGpu(deployment());
  writeFileSync(file, JSON.stringify({ pid: 1, host: 'gpu-7', boot: 'of gpu-7', started: '1' }));
  await expect(lockGpu(deployment())).rejects.toThrow(
    `A GPU worker of host "gpu-7" uses this workRoot, or was killed there. Give each host a workRoot of its own; if that worker is stopped, delete ${file}. [gpu.taken]`,
  );
  await lock.release();
});

it('is taken when a worker is configured, so that a second one never polls', async () => {
  const options = { taskQueue: 'srlm-gpu' };
  const given = { ...config(), workRoot: join(folder, 'work'), artifactRoot: join(folder, 'store') };
  const plugin = new SrlmGpuPlugin(given);
  await plugin.configureWorker(options);
  // The one for the queue of the host is never ready.
  vi.spyOn(Worker, 'create').mockReturnValue(new Promise(() => {}));
  const worker = { getState: () => 'RUNNING', options: { interceptors: {}, activities: [] } } as unknown as Worker;
  void plugin.runWorker(worker, () => new Promise(() => {}));
  await expect(new SrlmGpuPlugin(given).configureWorker(options)).rejects.toThrow(
    "Another worker of this process already works with this workRoot. Give srlm's plugin to one worker, once; workers for several GPUs are processes of their own. [gpu.taken]",
  );
});

it('is left to the next worker by one that was configured and never ran, which then cannot run', async () => {
  const options = { taskQueue: 'srlm-gpu' };
  const given = { ...config(), workRoot: join(folder, 'work'), artifactRoot: join(folder, 'store') };
  const [first, second] = [new SrlmGpuPlugin(given), new SrlmGpuPlugin(given)];
  await first.configureWorker(options);
  await second.configureWorker(options);
  await expect(first.runWorker({} as Worker, async () => {})).rejects.toThrow(
    'Another worker of this process already works with this workRoot.',
  );
});

it('is not asked for where no engine computes on this host', async () => {
  const given = { ...config(), engines: {}, workRoot: join(folder, 'work'), artifactRoot: join(folder, 'store') };
  await new SrlmGpuPlugin(given).configureWorker({ taskQueue: 'srlm-gpu' });
  expect(existsSync(join(folder, 'work/gpu.json'))).toBe(false);
});

it.each([
  ['all devices where nothing is said', undefined, ['0', '1']],
  ['those that are named', '1', ['1']],
  ['those that are named by UUID, in one order', 'MIG-GPU-8e/1/0,GPU-8e', ['GPU-8e', 'MIG-GPU-8e_1_0']],
  ['what precedes something that is none', '1,-1,0', ['1']],
  ['none', '', []],
])('sees %s', (_what, visible, expected) => {
  const devices = ['null', 'nvidia1', 'nvidiactl', 'nvidia-uvm', 'nvidia0'];
  expect(visibleDevices(devices, visible)).toEqual(expected);
});

it('sees no device on a machine without one', () => {
  expect(visibleDevices(['null'], '0')).toEqual([]);
});
