/**
 * zstd, unpacked part by part. What a frame wants held in memory, its window, is read from its header before the library
 * reads it, which would allocate up to 2 GB for each frame of a few bytes.
 */
import { Decompress } from 'fzstd';
import { fileUnpackable } from '../contracts/errors.js';

const MAGIC = 0xfd2fb528;
/** Whatever its last digit is, the frame is to be skipped. */
const SKIPPABLE = 0x184d2a50;
/** As the zstd program's own limit. */
const MAX_WINDOW_BYTES = 128 * 2 ** 20;
/** What is unpacked from so much at once is held in memory: up to 32 MB. */
const STEP_BYTES = 1 << 10;

export const isZstd = (start: Buffer): boolean => start.length >= 4 && start.readUInt32LE() === MAGIC;

/** Throws file.damaged. */
export async function* unzstd(packed: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<Uint8Array> {
  let unpacked: Uint8Array[] = [];
  const stream = new Decompress((part) => unpacked.push(part.slice()));
  const windows = new Windows(name);
  const push = (part: Uint8Array, isLast: boolean) => {
    windows.check(part);
    try {
      stream.push(part, isLast);
    } catch (error) {
      throw fileUnpackable(name, `it is not a whole zstd file (${(error as Error).message}).`);
    }
  };
  let rest: Uint8Array = new Uint8Array(0);
  for await (const part of packed) {
    for (let at = 0; at < part.length; at += STEP_BYTES) {
      push(rest, false);
      rest = part.subarray(at, at + STEP_BYTES);
      yield* unpacked;
      unpacked = [];
    }
  }
  push(rest, true);
  yield* unpacked;
}

/** Follows frames and blocks, whose contents it skips. What is no zstd it leaves to the library to refuse. */
class Windows {
  private readonly head = Buffer.alloc(18);
  private held = 0;
  private skip = 0;
  /** Bytes of the checksum that follow the last block; null: between frames. */
  private checksum: number | null = null;

  constructor(private readonly name: string) {}

  check(part: Uint8Array): void {
    for (let at = 0; at < part.length; ) {
      const skipped = Math.min(this.skip, part.length - at);
      this.skip -= skipped;
      at += skipped;
      if (at === part.length) return;
      this.head[this.held++] = part[at++]!;
      if (this.checksum === null) this.frame();
      else if (this.held === 3) this.block(this.checksum);
    }
  }

  private frame(): void {
    if (this.held < 5) return;
    const isSkipped = (this.head.readUInt32LE() & 0xfffffff0) >>> 0 === SKIPPABLE;
    const flags = this.head[4]!;
    const isSingle = (flags & 32) !== 0;
    const sizeBytes = [isSingle ? 1 : 0, 2, 4, 8][flags >> 6]!;
    const dictionaryBytes = [0, 1, 2, 4][flags & 3]!;
    const sizeAt = 5 + (isSingle ? 0 : 1) + dictionaryBytes;
    if (this.held < (isSkipped ? 8 : sizeAt + sizeBytes)) return;
    this.held = 0;
    if (isSkipped) {
      this.skip = this.head.readUInt32LE(4);
      return;
    }
    const power = 2 ** (10 + (this.head[5]! >> 3));
    const window = isSingle ? this.contentBytes(sizeAt, sizeBytes) : power + (power / 8) * (this.head[5]! & 7);
    if (window > MAX_WINDOW_BYTES) {
      throw fileUnpackable(this.name, 'its zstd window is larger than 128 MB; pack it without --long or --ultra.');
    }
    this.checksum = flags & 4 ? 4 : 0;
  }

  private contentBytes(at: number, bytes: number): number {
    return bytes === 8
      ? Number(this.head.readBigUInt64LE(at))
      : this.head.readUIntLE(at, bytes) + (bytes === 2 ? 256 : 0);
  }

  private block(checksum: number): void {
    this.held = 0;
    const header = this.head.readUIntLE(0, 3);
    const isRepeated = ((header >> 1) & 3) === 1;
    this.skip = isRepeated ? 1 : header >> 3;
    if ((header & 1) === 0) return;
    this.skip += checksum;
    this.checksum = null;
  }
}
