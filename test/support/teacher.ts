import { createServer, type Server } from 'node:http';

/** A minimal OpenAI-compatible endpoint: it answers everything with the same word, `n` times, or with a `page`. */
export async function startTeacher(port: number, { page = '' } = {}): Promise<Server> {
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const part of request) body += part;
    const { n = 1 } = JSON.parse(body) as { n?: number };
    const choices = Array.from({ length: n }, () => ({
      message: { content: 'So.' },
      finish_reason: 'stop',
    }));
    response.setHeader('content-type', 'application/json');
    response.end(page || JSON.stringify({ choices }));
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return server;
}
