/**
 * What a web page can do to programs of this machine: requests with its origin, to the address itself or through a
 * name of its own that leads there (DNS rebinding), of the kinds that a browser sends without asking first.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';

/** The name of the page's site. The browser of these tests takes it for this machine, as after rebinding. */
export const EVIL = 'evil.example';

/** An activity that no workflow asked for: what the HTTP API let a page start. */
export const activityPath = (id: string) => `/api/v1/namespaces/default/activities/${id}`;
export const ACTIVITY = JSON.stringify({
  activityType: { name: 'srlmPrepareModel' },
  taskQueue: { name: 'hostile' },
  startToCloseTimeout: '5s',
});
export const READS = ['/api/v1/namespaces', '/api/v1/settings', '/metrics', '/'];

/** The ports that a process listens on. Linux only. */
export function portsOf(pid: number): number[] {
  const ports = new Map<string, number>();
  for (const table of ['tcp', 'tcp6']) {
    for (const line of readFileSync(`/proc/${pid}/net/${table}`, 'utf8').trim().split('\n').slice(1)) {
      const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
      if (state === '0A') ports.set(`socket:[${inode}]`, Number.parseInt(local!.split(':')[1]!, 16));
    }
  }
  const links = readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return '';
    }
  });
  return links.flatMap((link) => ports.get(link) ?? []);
}

/** Whether a browser may open the port. Node's fetch follows the same standard, with a list of its own. */
export async function isOpenToBrowsers(port: number): Promise<boolean> {
  try {
    await fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(2000) });
    return true;
  } catch (error) {
    return ((error as Error).cause as Error | undefined)?.message !== 'bad port';
  }
}

/** The status of the answer; 0: what listens does not speak HTTP/1, the only HTTP that pages speak without TLS. */
export function ask(
  port: number,
  path: string,
  options: { method?: string; headers?: Record<string, string>; body?: string },
): Promise<{ status: number; body: string; cookies: string[] }> {
  const { method = 'GET', headers = {}, body } = options;
  return new Promise((resolve) => {
    const nothing = { status: 0, body: '', cookies: [] };
    const outgoing = request({ host: '127.0.0.1', port, path, method, headers, timeout: 3000 }, async (response) => {
      const parts: Buffer[] = [];
      const cookies = (response.headers['set-cookie'] ?? []).map((cookie) => cookie.split(';')[0]!);
      try {
        for await (const part of response) parts.push(part);
      } catch {
        // What came before the connection broke is an answer too.
      }
      resolve({ status: response.statusCode!, body: Buffer.concat(parts).toString(), cookies });
    });
    outgoing.on('timeout', () => outgoing.destroy());
    outgoing.on('error', () => resolve(nothing));
    outgoing.end(body);
  });
}

/** The program of a Chromium; null: there is none on this machine. */
export function chromium(): string | null {
  const names = ['chromium', 'chromium-headless-shell', 'chromium-browser', 'google-chrome'];
  const folders = (process.env.PATH ?? '').split(delimiter);
  return names.flatMap((name) => folders.map((folder) => join(folder, name))).find((path) => existsSync(path)) ?? null;
}

/** Opens the address in a Chromium and returns the page as it is once it has loaded. */
export async function open(program: string, url: string, ...more: string[]): Promise<string> {
  const profile = mkdtempSync(join(tmpdir(), 'srlm-test-chromium-'));
  try {
    const { stdout } = await promisify(execFile)(
      program,
      [
        ...['--headless=new', '--dump-dom', '--disable-gpu', `--user-data-dir=${profile}`],
        // Chromium's sandbox does not start as root, as which tests run in a container.
        ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
        ...[`--host-resolver-rules=MAP ${EVIL} 127.0.0.1`, ...more, url],
      ],
      { timeout: 60_000, maxBuffer: 1 << 26 },
    );
    return stdout;
  } finally {
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}
