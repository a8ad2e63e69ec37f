/**
 * Proxies on the loopback interface that misbehave when they are told to. TcpProxy stands between a worker and
 * Temporal, HttpProxy before a model server or a hosted endpoint. Untold, both pass everything on unchanged.
 */
import {
  createServer as createHttpServer,
  type Server as HttpServer,
  type IncomingMessage,
  request,
  type ServerResponse,
} from 'node:http';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** What a request can meet instead of its answer. */
export const MISDEEDS = ['500', '429', 'half a body', 'not JSON', 'JSON of another kind', 'hang', 'refused'] as const;
export type Misdeed = (typeof MISDEEDS)[number];

interface Order {
  misdeed: Misdeed;
  matches: RegExp;
  /** Requests that match and are let through first. */
  after: number;
  times: number;
  /** Of a hang, or of a time without a listener. */
  ms: number;
  met: (at: number) => void;
}

export class HttpProxy {
  /** Ids of the requests that the server behind answered with 200, whether or not the client got to see it. */
  readonly answered: string[] = [];
  private orders: Order[] = [];
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

  /** Resolves with the time of the last misdeed. */
  order(order: Omit<Order, 'met'>): Promise<number> {
    return new Promise((met) => {
      this.orders.push({ ...order, met });
    });
  }

  /** Takes back what was not met. */
  clear(): void {
    this.orders = [];
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

  private due(id: string | undefined): Order | null {
    const order = this.orders
      .filter(({ matches }) => id !== undefined && matches.test(id))
      .find((one) => one.after-- <= 0);
    if (!order) return null;
    if (--order.times <= 0) this.orders.splice(this.orders.indexOf(order), 1);
    return order;
  }

  private async handle(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const body = await whole(incoming);
    const id = incoming.headers['x-request-id'] as string | undefined;
    const order = this.due(id);
    const met = () => {
      if (order && order.times <= 0) order.met(Date.now());
    };
    const json = { 'content-type': 'application/json' };
    switch (order?.misdeed) {
      case '500':
        outgoing.writeHead(500, json).end('{"error":{"message":"chaos","type":"server_error"}}');
        return met();
      case '429':
        outgoing.writeHead(429, { ...json, 'retry-after': '1' }).end('{"error":{"message":"chaos"}}');
        return met();
      case 'not JSON':
        outgoing.writeHead(200, json).end('{"choices": [{"mess');
        return met();
      case 'JSON of another kind':
        outgoing.writeHead(200, json).end('{"choices": 7}');
        return met();
      case 'hang': {
        const timer = setTimeout(() => outgoing.destroy(), order.ms);
        outgoing.once('close', () => {
          clearTimeout(timer);
          met();
        });
        return;
      }
      case 'refused': {
        const { port } = this;
        this.stopListening();
        setTimeout(() => {
          if (!this.closed) this.listen(port).then(met, met);
        }, order.ms);
        return;
      }
      default: {
        const answer = await this.forward(incoming, body, outgoing);
        if (answer.status === 200 && id) this.answered.push(id);
        const { 'transfer-encoding': _, ...headers } = answer.headers;
        outgoing.writeHead(answer.status, { ...headers, 'content-length': answer.body.length });
        if (order) {
          outgoing.write(answer.body.subarray(0, answer.body.length / 2), () => outgoing.destroy());
          met();
        } else outgoing.end(answer.body);
      }
    }
  }

  private forward(incoming: IncomingMessage, body: Buffer, outgoing: ServerResponse) {
    return new Promise<{ status: number; headers: IncomingMessage['headers']; body: Buffer }>((resolve, reject) => {
      const port = this.target();
      if (port === null) return reject(new Error('nobody listens'));
      const { method, url: path, headers } = incoming;
      const options = { host: '127.0.0.1', port, method, path, headers, agent: false };
      const outward = request(options, (answer) => {
        whole(answer).then(
          (text) => resolve({ status: answer.statusCode ?? 502, headers: answer.headers, body: text }),
          reject,
        );
      });
      outward.once('error', reject);
      // A client that hangs up takes its request along.
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

export class TcpProxy {
  private readonly sockets = new Set<Socket>();
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
      for (const [socket, other] of [
        [client, behind],
        [behind, client],
      ] as const) {
        this.sockets.add(socket);
        socket.setNoDelay(true);
        socket.on('data', (data) => other.write(data));
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

  /** Every connection is reset, and a new one is reset at once. */
  cut(): void {
    this.state = 'cut';
    for (const socket of this.sockets) socket.destroy();
  }

  /** Nothing arrives; what was sent comes late, as over a line that loses packets for a while. */
  silence(): void {
    this.state = 'silent';
    for (const socket of this.sockets) socket.pause();
  }

  heal(): void {
    this.state = 'passing';
    for (const socket of this.sockets) socket.resume();
  }

  close(): void {
    for (const socket of this.sockets) socket.destroy();
    this.server?.close();
  }
}
