/**
 * Where chaos runs take place: a Temporal server, a proxy in front of it for workers, a model server and an endpoint
 * behind proxies, and a store on a small file system of its own, so that it can be filled.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startEmbedded, temporalBinary } from '../../worker/embedded.js';
import { Harness } from '../support/harness.js';
import { python } from '../support/python.js';
import { startTeacher } from '../support/teacher.js';
import { freePorts } from '../support/temporal-server.js';
import { SHARDS_IN_FLIGHT } from './checks.js';
import { HttpProxy, TcpProxy } from './proxies.js';

const STORE_MB = 24;

export interface Site {
  harness: Harness;
  /** The store can be filled. */
  fillable: boolean;
  /** Between worker and Temporal. */
  temporal: TcpProxy;
  server: HttpProxy;
  /** The endpoint that writes missing rationales. */
  teacher: HttpProxy;
  /** What removes all of it, in order. */
  undo: (() => unknown)[];
}

export async function openSite(name: string): Promise<Site> {
  const folder = await mkdtemp(join(tmpdir(), `srlm-chaos-${name}-`));
  const undo: (() => unknown)[] = [() => rm(folder, { recursive: true, force: true })];
  try {
    const store = join(folder, 'store');
    await mkdir(store);
    const fillable = mount(store);
    if (fillable) undo.unshift(() => unmount(store));
    const [port, uiPort, forWorkers, behind] = (await freePorts(4)) as [number, number, number, number];
    const program = temporalBinary({ python });
    const embedded = await startEmbedded({ folder: join(folder, 'temporal-server'), port, uiPort, temporal: program });
    undo.unshift(() => embedded.stop());
    const temporal = new TcpProxy(forWorkers, port);
    await temporal.listen();
    undo.unshift(() => temporal.close());
    const endpoint = await startTeacher(behind);
    undo.unshift(() => endpoint.close());
    const teacher = new HttpProxy(() => behind);
    await teacher.listen();
    undo.unshift(() => teacher.close());
    const modelServer = new ModelServerProxy(folder);
    await modelServer.proxy.listen();
    undo.unshift(() => modelServer.close());
    const harness = await Harness.open('chaos', {
      folder,
      worker: false,
      temporal: { forWorkers: `127.0.0.1:${forWorkers}`, forClient: `127.0.0.1:${port}` },
      config: {
        shardsInFlight: SHARDS_IN_FLIGHT,
        // Longer than a process is frozen that wakes again.
        stallMinutes: 0.4,
        engines: {
          local: { kind: 'builtin', device: 'cpu', threads: 1 },
          teacher: {
            kind: 'endpoint',
            baseUrl: `http://127.0.0.1:${teacher.port}/v1`,
            model: 'teacher',
            timeoutSeconds: 2,
          },
        },
      },
    });
    undo.unshift(
      // Otherwise it would start Temporal again while the harness ends all its processes.
      () => embedded.stop(),
      () => harness.end(),
    );
    await removeSomeRationales(join(folder, 'train.jsonl'));
    return { harness, fillable, temporal, server: modelServer.proxy, teacher, undo };
  } catch (error) {
    await closeSite(undo);
    throw error;
  }
}

export async function closeSite(undo: (() => unknown)[]): Promise<void> {
  for (const one of undo.splice(0)) await one();
}

export const unmount = (folder: string) => execFileSync('umount', ['-l', folder]);

/** A file system of its own for the store; false where that is not allowed. */
function mount(folder: string): boolean {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${STORE_MB}m`, 'srlm-chaos', folder], { stdio: 'pipe' });
    return true;
  } catch {
    return false;
  }
}

/** The worker finds the model server by its server.json: the port in there becomes the proxy's. */
class ModelServerProxy {
  private port: number | null = null;
  readonly proxy = new HttpProxy(() => this.port);
  private readonly timer = setInterval(() => this.redirect(), 10);

  constructor(private readonly folder: string) {}

  private redirect(): void {
    const file = join(this.folder, 'work/servers/local-deterministic/server.json');
    try {
      const server = JSON.parse(readFileSync(file, 'utf8'));
      if (server.port === this.proxy.port) return;
      this.port = server.port;
      writeFileSync(`${file}.chaos`, JSON.stringify({ ...server, port: this.proxy.port }));
      renameSync(`${file}.chaos`, file);
    } catch {
      // No server runs now.
    }
  }

  close(): void {
    clearInterval(this.timer);
    this.proxy.close();
  }
}

async function removeSomeRationales(file: string): Promise<void> {
  const rows = (await readFile(file, 'utf8')).trim().split('\n');
  const some = rows.map((row, i) => {
    const { rationale, ...rest } = JSON.parse(row);
    return JSON.stringify(i % 4 === 0 ? rest : { ...rest, rationale });
  });
  await writeFile(file, `${some.join('\n')}\n`);
}
