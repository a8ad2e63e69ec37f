/**
 * Ports that no web page can reach: every browser refuses to open them, whatever the address, name, method or redirect
 * (Fetch standard, "bad port"). What cannot be protected otherwise listens there. Programs of this machine reach them.
 * Throws temporal.no-closed-port.
 */
import { createServer } from 'node:net';
import { noClosedPort } from '../contracts/errors.js';

/**
 * Without services that are still common (X11, NFS), ports that a policy can open again (6566, 10080), and ports of the
 * standard that Chromium opens (4190, 6679).
 */
const FOR_EVERYBODY = [1719, 1720, 1723, 3659, 4045, 5060, 5061, 6665, 6666, 6667, 6668, 6669, 6697];
/** Only root may listen there, as in a container; used where the others do not suffice. Services of long ago. */
const FOR_ROOT = [
  1, 7, 9, 11, 13, 15, 17, 19, 37, 42, 43, 77, 79, 87, 95, 101, 102, 103, 104, 109, 113, 115, 117, 119, 512, 513, 514,
  515, 526, 530, 531, 532, 540, 556, 563, 601,
];
export const CLOSED_PORTS: readonly number[] = [...FOR_EVERYBODY, ...FOR_ROOT];

/** They are free on 127.0.0.1, and may be taken a moment later. */
export async function closedPorts(count: number): Promise<number[]> {
  const found: number[] = [];
  // By chance, so that two servers that start at the same moment rarely choose the same.
  for (const port of [...shuffled(FOR_EVERYBODY), ...shuffled(FOR_ROOT)])
    if (found.length < count && (await canListen(port))) found.push(port);
  if (found.length < count) throw noClosedPort(count, found.length);
  return found;
}

function shuffled(ports: readonly number[]): number[] {
  return ports
    .map((port) => ({ port, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ port }) => port);
}

export function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
