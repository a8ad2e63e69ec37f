/**
 * Proxies on the loopback interface that misbehave on request. TcpProxy is between a worker and Temporal, HttpProxy in
 * front of a model server or an endpoint. Without a request both pass everything on unchanged.
 */
import {
  createServer as createHttpServer,
  type Server as HttpServer,
  type IncomingMessage,
  request,
  type ServerResponse,
} from 'node:http';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { GrpcRequests } from './grpc.js';

/** What a request can get instead of its reply. */
export const BAD_REPLIES = [
  '500',
  '429',
  'half a body',
  'not JSON',
  'JSON of another kind',
  'hang',
  'refused',
] as const;
export type BadReply = (typeof BAD_REPLIES)[number];

interface Misbehaviour {
  reply: BadReply;
  /** Ids of the requests that get it. */
  matches: RegExp;
  /** Matching requests that are let through first. */
  after: number;
  times: number;
  /** How long a hang, or a time without a listener, lasts. */
  ms: number;
  done: (at: number) => void;
}

export class HttpProxy {
  /** Ids of the requests that the server behind answered with 200, whether or not the client received the answer. */
  readonly answered: string[] = [];
  private requested: Misbehaviour[] = [];
  private server: HttpServer | null = null;
  private closed = false;
  port = 0;

  /** `target`: the port behind; null: nobody listens there now. */
  constructor(private readonly target: () => number | null) {}

  async listen(port = 0): Promise<number> {
    const server = createHttpServer((incoming, outgoing) => {
      this.handle(incoming, outgoing).catch(() => outgoing.destroy());
    });
    // A model server may be frozen for longer than Node waits.
    server.requestTimeout = 0;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', resolve);
    });
    this.server = server;
    this.port = (server.address() as AddressInfo).port;
    return this.port;
  }

  /** Resolves with the time of the last bad reply. */
  misbehave(request: Omit<Misbehaviour, 'done'>): Promise<number> {
    return new Promise((done) => {
      this.requested.push({ ...request, done });
    });
  }

  /** Forgets what was requested and has not happened yet. */
  clear(): void {
    this.requested = [];
  }

  close(): void {
    this.closed = true;
    this.stopListening();
  }

  private stopListening(): void {
    this.server?.close();
    this.server?.closeAllConnections();
    this.server = null;
  }

  private due(id: string | undefined): Misbehaviour | null {
    const found = this.requested
      .filter(({ matches }) => id !== undefined && matches.test(id))
      .find((one) => one.after-- <= 0);
    if (!found) return null;
    if (--found.times <= 0) this.requested.splice(this.requested.indexOf(found), 1);
    return found;
  }

  private async handle(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const body = await whole(incoming);
    const id = incoming.headers['x-request-id'] as string | undefined;
    const bad = this.due(id);
    const done = () => {
      if (bad && bad.times <= 0) bad.done(Date.now());
    };
    const json = { 'content-type': 'application/json' };
    switch (bad?.reply) {
      case '500':
        outgoing.writeHead(500, json).end('{"error":{"message":"chaos","type":"server_error"}}');
        return done();
      case '429':
        outgoing.writeHead(429, { ...json, 'retry-after': '1' }).end('{"error":{"message":"chaos"}}');
        return done();
      case 'not JSON':
        outgoing.writeHead(200, json).end('{"choices": [{"mess');
        return done();
      case 'JSON of another kind':
        outgoing.writeHead(200, json).end('{"choices": 7}');
        return done();
      case 'hang': {
        const timer = setTimeout(() => outgoing.destroy(), bad.ms);
        outgoing.once('close', () => {
          clearTimeout(timer);
          done();
        });
        return;
      }
      case 'refused': {
        const { port } = this;
        this.stopListening();
        setTimeout(() => {
          if (!this.closed) this.listen(port).then(done, done);
        }, bad.ms);
        return;
      }
      default: {
        const answer = await this.forward(incoming, body, outgoing);
        if (answer.status === 200 && id) this.answered.push(id);
        const { 'transfer-encoding': _, ...headers } = answer.headers;
        outgoing.writeHead(answer.status, { ...headers, 'content-length': answer.body.length });
        if (bad) {
          outgoing.write(answer.body.subarray(0, answer.body.length / 2), () => outgoing.destroy());
          done();
        } else outgoing.end(answer.body);
      }
    }
  }

  private forward(incoming: IncomingMessage, body: Buffer, outgoing: ServerResponse) {
    return new Promise<{ status: number; headers: IncomingMessage['headers']; body: Buffer }>((resolve, reject) => {
      const port = this.target();
      if (port === null) return reject(new Error('nobody listens'));
      const { method, url: path } = incoming;
      // The model server answers to its own address only.
      const headers = { ...incoming.headers, host: `127.0.0.1:${port}` };
      const options = { host: '127.0.0.1', port, method, path, headers, agent: false };
      const outward = request(options, (answer) => {
        whole(answer).then(
          (text) => resolve({ status: answer.statusCode ?? 502, headers: answer.headers, body: text }),
          reject,
        );
      });
      outward.once('error', reject);
      // If the client hangs up, its request ends too.
      outgoing.once('close', () => outward.destroy());
      outward.end(body);
    });
  }
}

async function whole(stream: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

/** A request that has reached the proxy, but not Temporal yet; its connection is paused. */
export interface HeldRequest {
  /** Passes it on. Does nothing if it was passed on or dropped before. */
  release(): void;
  /** It never reaches Temporal; the connection is reset. */
  drop(): void;
}

interface Watch {
  wanted: (message: Buffer) => boolean;
  found: (held: HeldRequest) => void;
}

export class TcpProxy {
  private readonly sockets = new Set<Socket>();
  /** Held requests, and their connections, which are paused. */
  private readonly held = new Map<HeldRequest, Socket>();
  private watches: Watch[] = [];
  private state: 'passing' | 'cut' | 'silent' = 'passing';
  private server: Server | null = null;

  constructor(
    readonly port: number,
    private readonly target: number,
  ) {}

  async listen(): Promise<void> {
    const server = createServer((client) => {
      if (this.state === 'cut') return void client.destroy();
      const behind = connect(this.target, '127.0.0.1');
      const requests = new GrpcRequests();
      client.on('data', (data: Buffer) => this.fromClient(data, requests, client, behind));
      behind.on('data', (data) => client.write(data));
      for (const [socket, other] of [
        [client, behind],
        [behind, client],
      ] as const) {
        this.sockets.add(socket);
        socket.setNoDelay(true);
        socket.on('error', () => {});
        socket.on('close', () => {
          this.sockets.delete(socket);
          other.destroy();
        });
        if (this.state === 'silent') socket.pause();
      }
    });
    await new Promise<void>((resolve) => server.listen(this.port, '127.0.0.1', resolve));
    this.server = server;
  }

  private fromClient(data: Buffer, requests: GrpcRequests, client: Socket, behind: Socket): void {
    const messages = requests.read(data);
    const watch = this.watches.find(({ wanted }) => messages.some(wanted));
    if (!watch) return void behind.write(data);
    client.pause();
    const held: HeldRequest = {
      release: () => {
        if (!this.held.delete(held)) return;
        behind.write(data);
        if (this.state !== 'silent') client.resume();
      },
      drop: () => {
        if (this.held.delete(held)) client.destroy();
      },
    };
    this.held.set(held, client);
    this.watches = this.watches.filter((one) => one !== watch);
    watch.found(held);
  }

  /** Holds back the next request of which `wanted` is true. */
  hold(wanted: Watch['wanted']): Promise<HeldRequest> {
    return new Promise((found) => {
      this.watches.push({ wanted, found });
    });
  }

  /** Every connection is reset, and a new one is reset at once. */
  cut(): void {
    this.state = 'cut';
    for (const socket of this.sockets) socket.destroy();
  }

  /** Nothing arrives; what was sent comes late, as over a network that loses packets for a while. */
  silence(): void {
    this.state = 'silent';
    for (const socket of this.sockets) socket.pause();
  }

  /** Passes everything on again. What is held stays held. */
  heal(): void {
    this.state = 'passing';
    const paused = new Set(this.held.values());
    for (const socket of this.sockets) if (!paused.has(socket)) socket.resume();
  }

  /** Holds nothing any more. */
  clear(): void {
    this.watches = [];
    for (const held of this.held.keys()) held.release();
  }

  close(): void {
    for (const socket of this.sockets) socket.destroy();
    this.server?.close();
  }
}
