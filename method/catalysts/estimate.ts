/**
 * What building catalysts will ask of the teacher, before anything is sent: requests, tokens read and written, as likely
 * and at most. A token is taken as four bytes. Pure.
 */
import { type CatalystSpec, requestsOf } from '../../contracts/catalysts.js';
import type { Example } from '../../contracts/rows.js';
import { catalystMessages } from './prompt.js';

const BYTES_PER_TOKEN = 4;
/** Rows for one catalyst, where most replies are of use. */
const FOR_ONE = 1.2;
/** An enriched rationale is so much longer than the short one, and has so many tokens at least. */
const GROWTH = 2.5;
const LEAST_TOKENS = 120;

export interface Cost {
  requests: number;
  promptTokens: number;
  completionTokens: number;
}

export interface Estimate {
  likely: Cost;
  /** What the spec's bounds let it come to. */
  most: Cost;
}

/** Sees each row of the data. */
export class Estimator {
  private rows = 0;
  private promptBytes = 0;
  private rationaleBytes = 0;
  private missing = 0;

  constructor(private readonly spec: CatalystSpec) {}

  add(row: Example): void {
    this.rows++;
    if (row.original === null) this.missing++;
    const { system = null, prompt, seed } = this.spec;
    // A row without a short rationale gets one of about this length first.
    const original = row.original ?? 'x'.repeat(LEAST_TOKENS);
    const messages = catalystMessages({ system, prompt }, { ...row, original: original || 'x' }, seed, 1) ?? [];
    this.promptBytes += messages.reduce((sum, { content }) => sum + bytesOf(content), 0);
    this.rationaleBytes += bytesOf(original);
  }

  get estimate(): Estimate {
    const { count, tries, sampling } = this.spec;
    const rows = Math.max(1, this.rows);
    const prompt = this.promptBytes / rows / BYTES_PER_TOKEN;
    const rationale = this.rationaleBytes / rows / BYTES_PER_TOKEN;
    const reply = Math.min(sampling.maxTokens, Math.max(LEAST_TOKENS, GROWTH * rationale));
    // A missing first rationale is a request of its own, with a shorter prompt and reply.
    const withFirst = 1 + this.missing / rows;
    const likely = Math.ceil(Math.min(count * FOR_ONE, this.rows));
    const most = Math.min(requestsOf(this.spec), this.rows * tries);
    const cost = (requests: number, tokens: number): Cost => ({
      requests: Math.ceil(requests * withFirst),
      promptTokens: Math.ceil(requests * withFirst * prompt),
      completionTokens: Math.ceil(requests * withFirst * tokens),
    });
    return { likely: cost(Math.min(likely, most), reply), most: cost(most, sampling.maxTokens) };
  }
}

const bytesOf = (text: string): number => new TextEncoder().encode(text).length;
