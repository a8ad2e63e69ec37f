/**
 * Reads the requests that a gRPC client sends over one connection, as far as a test needs it: HTTP/2 frames, gRPC's
 * length prefix, gzip. Headers are not decoded, so which method is called is not known.
 */
import { gunzipSync } from 'node:zlib';

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const FRAME_HEADER = 9;
const MESSAGE_HEADER = 5;
const DATA = 0;
const END_STREAM = 0x1;
const PADDED = 0x8;

export class GrpcRequests {
  private unread = Buffer.alloc(0);
  private begun = false;
  /** By stream, what has arrived of its message. */
  private readonly streams = new Map<number, Buffer>();

  /** The messages that are complete with `chunk`. */
  read(chunk: Buffer): Buffer[] {
    this.unread = Buffer.concat([this.unread, chunk]);
    if (!this.begun) {
      if (this.unread.length < PREFACE.length) return [];
      this.unread = this.unread.subarray(PREFACE.length);
      this.begun = true;
    }
    const messages: Buffer[] = [];
    while (this.unread.length >= FRAME_HEADER) {
      const length = this.unread.readUIntBE(0, 3);
      if (this.unread.length < FRAME_HEADER + length) break;
      const [type, flags, stream] = [this.unread[3], this.unread[4]!, this.unread.readUInt32BE(5)];
      const payload = this.unread.subarray(FRAME_HEADER, FRAME_HEADER + length);
      this.unread = this.unread.subarray(FRAME_HEADER + length);
      if (type === DATA) messages.push(...this.data(stream, flags, payload));
    }
    return messages;
  }

  private data(stream: number, flags: number, payload: Buffer): Buffer[] {
    const body = flags & PADDED ? payload.subarray(1, payload.length - payload[0]!) : payload;
    let whole = Buffer.concat([this.streams.get(stream) ?? Buffer.alloc(0), body]);
    const messages: Buffer[] = [];
    while (whole.length >= MESSAGE_HEADER) {
      const end = MESSAGE_HEADER + whole.readUInt32BE(1);
      if (whole.length < end) break;
      const message = whole.subarray(MESSAGE_HEADER, end);
      messages.push(whole[0] === 1 ? gunzipSync(message) : message);
      whole = whole.subarray(end);
    }
    if (flags & END_STREAM) this.streams.delete(stream);
    else this.streams.set(stream, whole);
    return messages;
  }
}
