/**
 * srlm codec-server: decodes and encodes payloads for Temporal's Web UI and CLI, by the data converter of
 * temporal.config.ts (POST /decode and /encode, as Temporal's documentation describes codec servers). Whoever reaches it
 * reads every payload, so it listens on the loopback interface only, by its own names, and answers the pages of the given
 * origins and programs of this machine; no other page. Throws port.taken.
 */
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { Payload, PayloadCodec } from '@temporalio/common';
import { decode, encode } from '@temporalio/common/lib/internal-non-workflow/index.js';
import type { Command } from 'commander';
import { z } from 'zod';
import { decodingProblem, payloadFromJson, payloadToJson } from '../../audit/payload-json.js';
import { lazyClient } from '../../config/connection.js';
import { portTaken } from '../../contracts/errors.js';
import { codeOf } from '../../storage/files.js';
import { action, collect, EXIT, number, STOP_SIGNALS, UsageError } from './context.js';

/** Where `srlm up` has the UI. */
const UI_ORIGINS = ['http://127.0.0.1:8233', 'http://localhost:8233'];
const OWN_NAMES = new Set(['127.0.0.1', 'localhost']);
/** More than all payloads of the largest answer that Temporal gives, in base64. */
const MAX_BODY_BYTES = 16 << 20;

/** Status of an answer to a page that may not ask. */
const REFUSED = 403;

const Body = z.object({
  payloads: z.array(z.object({ metadata: z.record(z.string(), z.base64()).default({}), data: z.base64().default('') })),
});

export function addCodecServerCommand(program: Command): void {
  program
    .command('codec-server')
    .description("decode payloads for Temporal's Web UI and CLI, by the dataConverter of temporal.config.ts")
    .option('--port <port>', 'port to listen on', number('--port', 1, 65535), 8234)
    .option(
      '--web-origin <url>',
      `origin of a Web UI that may ask; may be repeated (default: ${UI_ORIGINS.join(', ')})`,
      collect,
    )
    .action(
      action(async (context, { port, webOrigin }: { port: number; webOrigin?: string[] }) => {
        const origins = webOrigin?.map(originOf) ?? UI_ORIGINS;
        const { options } = lazyClient(await context.deployment());
        const codecs = options.loadedDataConverter.payloadCodecs;
        if (codecs.length === 0)
          throw new UsageError('temporal.config.ts has no dataConverter with a codec, so there is nothing to decode.');
        const server = await serveCodecs(codecs, port, origins);
        const url = `http://127.0.0.1:${port}`;
        context.print({ url, origins, pid: process.pid }, [`Codec server  ${url}, for ${origins.join(', ')}`]);
        context.say(`Temporal's CLI:  temporal workflow show --codec-endpoint ${url} --workflow-id RUN`);
        context.say('Web UI:  enter this address as its codec server. Ctrl-C stops it.');
        await new Promise<void>((resolve) => {
          for (const signal of STOP_SIGNALS) process.once(signal, () => resolve());
        });
        server.close();
        server.closeAllConnections();
        return EXIT.done;
      }),
    );
}

/** `https://cloud.temporal.io/namespaces` is of the origin https://cloud.temporal.io. */
function originOf(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  if (parsed?.protocol === 'http:' || parsed?.protocol === 'https:') return parsed.origin;
  throw new UsageError(
    `--web-origin: expected an address such as https://cloud.temporal.io, found ${JSON.stringify(url)}.`,
  );
}

/** Resolves when it listens. */
export async function serveCodecs(codecs: PayloadCodec[], port: number, origins: readonly string[]): Promise<Server> {
  const server = createServer((request, response) => {
    void answer(codecs, origins, request).then(
      ({ status, text }) => response.writeHead(status, headersFor(request, status)).end(text),
      () => response.destroy(),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(codeOf(error) === 'EADDRINUSE' ? portTaken(port, '--port') : error));
    server.listen(port, '127.0.0.1', resolve);
  });
  return server;
}

interface Answer {
  status: number;
  text: string;
}

async function answer(codecs: PayloadCodec[], origins: readonly string[], request: IncomingMessage): Promise<Answer> {
  if (!isAllowed(request, origins)) return { status: REFUSED, text: 'This page may not ask here; see --web-origin.\n' };
  if (request.method === 'OPTIONS') return { status: 204, text: '' };
  // The CLI may be given an address with the namespace as a folder.
  const [, work] = /^(?:\/[^/?]+)?\/(decode|encode)$/.exec(request.url ?? '') ?? [];
  if (!work) return { status: 404, text: 'There are /decode and /encode.\n' };
  if (request.method !== 'POST') return { status: 405, text: 'Use POST.\n' };
  const body = await bodyOf(request);
  if (body === null) return { status: 413, text: `The body has more than ${MAX_BODY_BYTES} bytes.\n` };
  const parsed = Body.safeParse(jsonOf(body));
  if (!parsed.success)
    return { status: 400, text: 'Expected {"payloads": [{"metadata": {...}, "data": "..."}]}, in base64.\n' };
  const payloads = parsed.data.payloads.map(payloadFromJson);
  try {
    const done = await (work === 'encode' ? encode(codecs, payloads) : decodeEach(codecs, payloads));
    return { status: 200, text: JSON.stringify({ payloads: done.map(payloadToJson) }) };
  } catch (error) {
    return { status: 400, text: `${decodingProblem(error).message}\n` };
  }
}

/** One that cannot be decoded comes back as it is: a page shows a whole history at once. */
const decodeEach = (codecs: PayloadCodec[], payloads: Payload[]): Promise<Payload[]> =>
  decode(codecs, payloads).catch(() => decodeOneByOne(codecs, payloads));

const decodeOneByOne = (codecs: PayloadCodec[], payloads: Payload[]): Promise<Payload[]> =>
  Promise.all(payloads.map(async (payload) => (await decode(codecs, [payload]).catch(() => [payload]))[0] ?? payload));

/** A page of another origin is refused whatever it asks; so is one that reaches this server by a name of its own. */
function isAllowed({ headers, method }: IncomingMessage, origins: readonly string[]): boolean {
  const { host = '', origin } = headers;
  if (!OWN_NAMES.has(host.replace(/:\d+$/, ''))) return false;
  if (origin !== undefined) return origins.includes(origin);
  // Programs send neither; a browser leaves out the origin only where it opens an address, loads an image and the like.
  return method !== 'OPTIONS' && headers['sec-fetch-site'] === undefined;
}

/** What a browser has to see before it shows an answer to a page. */
function headersFor({ headers }: IncomingMessage, status: number): Record<string, string> {
  const { origin } = headers;
  const type = status === 200 ? 'application/json' : 'text/plain';
  const common = { 'content-type': type, 'cache-control': 'no-store', vary: 'origin', connection: 'close' };
  if (origin === undefined || status === REFUSED) return common;
  return {
    ...common,
    'access-control-allow-origin': origin,
    'access-control-allow-methods': 'POST',
    'access-control-allow-headers': 'content-type, x-namespace, authorization',
    // A page of the internet that asks a program of this machine.
    ...(headers['access-control-request-private-network'] ? { 'access-control-allow-private-network': 'true' } : {}),
  };
}

/** null: it is too large. It is read to its end, since a sender that is still sending hears no answer. */
async function bodyOf(request: IncomingMessage): Promise<string | null> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes <= MAX_BODY_BYTES) parts.push(part);
  }
  return bytes > MAX_BODY_BYTES ? null : Buffer.concat(parts).toString('utf8');
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
