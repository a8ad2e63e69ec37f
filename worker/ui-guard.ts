/**
 * The address of Temporal's UI. The UI itself answers whatever name it is asked by, so a page could read and change
 * runs through a name of its own that leads here (DNS rebinding). It therefore listens on a port that no browser opens,
 * and this proxy passes on what a page of the UI itself asks, and what somebody opens in a tab. Throws port.taken.
 */
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { portTaken } from '../contracts/errors.js';
import { codeOf } from '../storage/files.js';

/** With any port: the user may have forwarded another one to this machine. */
const OWN_NAMES = new Set(['127.0.0.1', 'localhost']);

export interface UiGuard {
  close(): void;
}

/** `uiPort` says where the UI listens now: a server that was started again has another port. */
export async function guardUi(port: number, uiPort: () => number): Promise<UiGuard> {
  const server = createServer((incoming, answer) => {
    if (isAllowed(incoming)) pass(incoming, answer, uiPort());
    else refuse(answer, 403, 'Only the pages of the Temporal UI may ask here.');
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(codeOf(error) === 'EADDRINUSE' ? portTaken(port, '--ui-port') : error));
    server.listen(port, '127.0.0.1', resolve);
  });
  return {
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

function isAllowed({ headers, method }: IncomingMessage): boolean {
  const { host = '', origin } = headers;
  if (!OWN_NAMES.has(host.replace(/:\d+$/, ''))) return false;
  if (origin !== undefined && origin !== `http://${host}`) return false;
  const site = headers['sec-fetch-site'] ?? 'none';
  if (site === 'same-origin' || site === 'none') return true;
  // A link to a run, in a mail or a chat: it opens a tab of its own, which its page cannot read. A frame is refused.
  return method === 'GET' && headers['sec-fetch-mode'] === 'navigate' && headers['sec-fetch-dest'] === 'document';
}

function pass(incoming: IncomingMessage, answer: ServerResponse, port: number): void {
  const { method, url, headers } = incoming;
  const outgoing = request({ host: '127.0.0.1', port, method, path: url, headers }, (response) => {
    answer.writeHead(response.statusCode!, response.headers);
    response.on('error', () => answer.destroy());
    response.pipe(answer);
  });
  outgoing.on('error', () => {
    if (answer.headersSent) answer.destroy();
    else refuse(answer, 502, 'The Temporal server does not answer; `srlm up` starts it again.');
  });
  answer.on('close', () => outgoing.destroy());
  incoming.pipe(outgoing);
}

function refuse(answer: ServerResponse, status: number, why: string): void {
  answer.writeHead(status, { 'content-type': 'text/plain', connection: 'close' }).end(`${why}\n`);
}
