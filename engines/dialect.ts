/**
 * What an endpoint takes of a request: what temporal.config.ts says of it, and what its refusals have shown since this
 * process began. Each thing that is found out is said once.
 */
import type { SampleRequest } from './client.js';
import type { HttpError } from './http.js';
import { isUnsupported, streamsAlone } from './refusals.js';

export type MaxTokensField = 'max_tokens' | 'max_completion_tokens';

export interface DialectSettings {
  /** It sends as many texts as `n` says. */
  n: boolean;
  seed: boolean;
  topK: boolean;
  maxTokensField: MaxTokensField;
  /** Sent with every request, in place of what would be sent under the same names. */
  extraBody?: Record<string, unknown> | undefined;
}

type Asked = Pick<SampleRequest, 'n' | 'seed' | 'temperature' | 'topP' | 'topK' | 'maxTokens'>;

/** What an endpoint may do without; the setting that says so, where there is one. */
const OPTIONAL = { seed: 'seed: false', top_k: 'topK: false', n: 'n: false', top_p: null, temperature: null } as const;
type Optional = keyof typeof OPTIONAL;
const FIELDS: Record<MaxTokensField, MaxTokensField> = {
  max_tokens: 'max_completion_tokens',
  max_completion_tokens: 'max_tokens',
};

export class Dialect {
  private readonly without = new Set<Optional>();
  private maxTokensField: MaxTokensField;
  private swapped = false;
  private streams = false;
  /** The most that it writes in any reply. */
  private mostTokens = Number.POSITIVE_INFINITY;

  constructor(
    private readonly settings: DialectSettings,
    private readonly say: (what: string) => void = () => {},
  ) {
    this.maxTokensField = settings.maxTokensField;
    if (!settings.n) this.without.add('n');
    if (!settings.seed) this.without.add('seed');
    if (!settings.topK) this.without.add('top_k');
  }

  takes(name: Optional): boolean {
    return !this.without.has(name);
  }

  /** The fields of a request that depend on the endpoint. */
  fields(asked: Asked): Record<string, unknown> {
    const wanted: Record<Optional, unknown> = {
      n: asked.n,
      temperature: asked.temperature,
      top_p: asked.topP,
      top_k: asked.topK > 0 ? asked.topK : undefined,
      seed: asked.seed,
    };
    const sent = Object.entries(wanted).filter(
      ([name, value]) => value !== undefined && !this.without.has(name as Optional),
    );
    const most = Math.min(asked.maxTokens, this.mostTokens);
    const stream = this.streams ? { stream: true } : {};
    return { ...Object.fromEntries(sent), [this.maxTokensField]: most, ...stream, ...this.settings.extraBody };
  }

  /**
   * Is the refusal of what was `sent` one that other fields avoid? Also where another request has found that out in the
   * meantime.
   */
  adapt(error: HttpError, sent: Record<string, unknown>): boolean {
    if (!('stream' in sent) && streamsAlone(error)) {
      if (!this.streams) this.say('It answers with event streams alone: requests ask for them.');
      this.streams = true;
      return true;
    }
    for (const name of Object.keys(OPTIONAL) as Optional[]) {
      if (!(name in sent) || this.isFixed(name) || !isUnsupported(error, name, sent[name])) continue;
      this.leaveOut(name);
      return true;
    }
    const field = this.fieldIn(sent);
    if (!field || this.isFixed(field) || !isUnsupported(error, field)) return false;
    if (field !== this.maxTokensField) return true;
    if (this.swapped) return false;
    this.swapped = true;
    this.maxTokensField = FIELDS[field];
    this.say(
      `It does not take ${field}: requests have ${this.maxTokensField} (maxTokensField: ${this.maxTokensField}).`,
    );
    return true;
  }

  /** It sends one text whatever `n` is. */
  ignoresN(): void {
    if (!this.takes('n')) return;
    this.without.add('n');
    this.say('It ignores n: each text has a request of its own (n: false).');
  }

  /** It writes no more than `tokens` in any reply. */
  writesAtMost(tokens: number): void {
    if (tokens >= this.mostTokens) return;
    this.mostTokens = tokens;
    this.say(`It writes at most ${tokens} tokens in a reply: requests ask for no more.`);
  }

  private leaveOut(name: Optional): void {
    if (this.without.has(name)) return;
    this.without.add(name);
    const setting = OPTIONAL[name];
    this.say(`It does not take ${name}: requests are sent without it${setting ? ` (${setting})` : ''}.`);
  }

  /** Set by the user's own hand. */
  private isFixed(name: string): boolean {
    return this.settings.extraBody !== undefined && Object.hasOwn(this.settings.extraBody, name);
  }

  private fieldIn(sent: Record<string, unknown>): MaxTokensField | null {
    const fields = Object.keys(FIELDS) as MaxTokensField[];
    return fields.find((field) => field in sent) ?? null;
  }
}
