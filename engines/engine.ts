/**
 * The seam between the rest of srlm and whatever samples text: an Engine is one entry of `engines` in
 * temporal.config.ts. It states what it can do, so that no other code asks of what kind it is.
 */
import type { Deployment } from '../contracts/deployment.js';
import { engineLacks } from '../contracts/errors.js';
import type { ModelRef } from '../contracts/refs.js';
import type { Store } from '../storage/store.js';
import type { EngineClient } from './client.js';
import type { Hardware, WeightServer } from './hardware.js';

export interface Capabilities {
  /** Without this it has one model of its own, and ignores the one it is given. */
  loadsWeights: boolean;
  /** `EngineClient.logprobs` works. */
  promptLogprobs: boolean;
}

/** A server that holds one model, with an API like OpenAI's. */
export interface PrivateServer {
  /** Ends in /v1. */
  baseUrl: string;
  apiKey: string;
  /** The name of the model, which holds the digest of its weights. */
  model: string;
  /** Aborts, with the reason, once it is given up because it makes no progress. */
  stalled: AbortSignal;
  isRunning(): Promise<boolean>;
}

/** One line of `srlm doctor`. */
export interface EngineCheck {
  ok: boolean;
  text: string;
  /** What to do about it; empty where all is well. */
  hint: string;
}

/** `remarks`: what it does not take, with the setting that says so; or, if it is not `ok`, why it does not answer. */
export interface EngineTrial {
  ok: boolean;
  text: string;
  /** What to do where it is not ok. */
  hint: string;
  remarks: string[];
}

export interface Engine {
  readonly name: string;
  readonly capabilities: Capabilities;
  /** The processes of this host that hold weights for it, running or not. */
  readonly servers: readonly WeightServer[];
  /** How long its server here has made no progress although it has work; 0 where nobody knows. */
  readonly quietMs: number;

  /** What decides its replies, for the keys of steps: the digest of the weights, or address, name and revision. */
  identity(model: ModelRef | null): string;

  /** In the unit of the prices in temporal.config.ts; 0 where none is set. */
  money(promptTokens: number, completionTokens: number): number;

  /**
   * Runs `work` with a client to which exactly this model replies until `work` ends. Waits for the hardware where the
   * engine needs some. Throws engine.unreachable (retried), engine.lacks, engine.key-missing, model.changed,
   * artifact.damaged.
   */
  withClient<T>(
    model: ModelRef | null,
    deterministic: boolean,
    signal: AbortSignal,
    work: (client: EngineClient) => Promise<T>,
  ): Promise<T>;

  /**
   * The same, from a server that is started for this call alone, beside whatever a worker does on this host. It is
   * stopped and its folder is removed before this returns. Throws engine.lacks where the engine loads no weights.
   */
  withPrivateClient<T>(
    model: { folder: string; sha256: string },
    signal: AbortSignal,
    work: (client: EngineClient) => Promise<T>,
  ): Promise<T>;

  /** The same, for other programs that ask it. Throws port.taken. */
  withPrivateServer<T>(
    model: { folder: string; sha256: string },
    signal: AbortSignal,
    work: (server: PrivateServer) => Promise<T>,
    port?: number,
  ): Promise<T>;

  /** Does it answer? Costs no tokens and starts nothing. null: there is nothing to find out. */
  check(): Promise<EngineCheck | null>;

  /**
   * What of a request does it take? Sends a few tiny ones. null: there is nothing to find out, or the key is elsewhere.
   */
  tryOut(): Promise<EngineTrial | null>;
}

/** What an engine may use of the host it runs on. */
export interface EngineSite {
  readonly deployment: Deployment;
  readonly hardware: Hardware;
  /** null: engines are described, checked and opened privately only, and do no work of a run. */
  readonly store: Store | null;
}

const WORDS: Record<keyof Capabilities, string> = {
  loadsWeights: 'load new weights',
  promptLogprobs: 'give log-probabilities of a prompt',
};

/** Throws engine.lacks. `field`: what of the spec needs it, for the message. */
export function requireCapability(engine: Engine, capability: keyof Capabilities, field: string): void {
  if (!engine.capabilities[capability]) throw engineLacks(engine.name, WORDS[capability], field);
}
