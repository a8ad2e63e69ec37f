/**
 * An OpenAI-compatible endpoint that a test can steer: it can be slow, refuse, or be away. Every answer is `So.`, a
 * token each, and `answered` holds the questions in order.
 */
import { createServer, type Server } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

export class SteeredEndpoint {
  readonly answered: string[] = [];
  /** Requests that came. */
  asked = 0;
  delayMs = 0;
  /** 0: answers. Else this status. */
  refuses = 0;
  private server: Server | null = null;

  constructor(readonly port: number) {}

  get baseUrl(): string {
    return `http://127.0.0.1:${this.port}/v1`;
  }

  async open(): Promise<this> {
    this.server = createServer(async (request, response) => {
      let body = '';
      for await (const part of request) body += part;
      const { n = 1, messages } = JSON.parse(body) as { n?: number; messages: { content: string }[] };
      this.asked++;
      await sleep(this.delayMs);
      response.setHeader('content-type', 'application/json');
      if (this.refuses > 0) {
        response.statusCode = this.refuses;
        response.end(JSON.stringify({ error: { message: 'not now' } }));
        return;
      }
      this.answered.push(messages.at(-1)!.content);
      const choices = Array.from({ length: n }, () => ({ message: { content: 'So.' }, finish_reason: 'stop' }));
      response.end(JSON.stringify({ choices, usage: { prompt_tokens: 10, completion_tokens: n } }));
    });
    await new Promise<void>((resolve) => this.server!.listen(this.port, '127.0.0.1', resolve));
    return this;
  }

  /** Connections are refused until it is opened again. */
  async close(): Promise<void> {
    this.server?.closeAllConnections();
    await new Promise<void>((resolve) => (this.server ? this.server.close(() => resolve()) : resolve()));
    this.server = null;
  }
}
