/**
 * What an operator may tell a run: one schema a command. Each is a Temporal Update `srlm<Name>` with one argument;
 * workflows/control/commands.ts says when a command is allowed and what it does. A command is at most 4 KB of JSON.
 */
import { z } from 'zod';
import { jsonBytes } from './refs.js';

/** Dotted field of the run's settings -> its new value. */
export const Settings = z.record(z.string().min(1).max(100), z.json());
export type Settings = z.infer<typeof Settings>;

const MAX_SETTINGS_BYTES = 1500;
const BoundedSettings = Settings.refine(
  (set) => jsonBytes(set) <= MAX_SETTINGS_BYTES,
  `more than ${MAX_SETTINGS_BYTES} bytes at once`,
);

const Actor = z.strictObject({
  who: z.string().max(120),
  why: z.string().max(500).default(''),
});

/** `answers`: `since` of the parked step or of the approval that is meant; a later one is not. */
const Answer = Actor.extend({ answers: z.string().max(40).optional() });

export const COMMANDS = {
  retry: Answer.extend({ set: BoundedSettings.optional() }),
  skip: Answer,
  approve: Answer,
  reject: Answer,
  abort: Answer,
  pause: Actor,
  resume: Actor,
  stop: Actor.extend({ after: z.enum(['round', 'step']) }),
  /** `fromRound` null: from now on. */
  set: Actor.extend({ set: BoundedSettings, fromRound: z.int().min(0).nullable().default(null) }),
  promote: Actor.extend({ round: z.int().min(0) }),
} as const;

export type CommandName = keyof typeof COMMANDS;
export type Command<Name extends CommandName = CommandName> = z.infer<(typeof COMMANDS)[Name]>;
export const CommandName = z.enum(Object.keys(COMMANDS) as [CommandName, ...CommandName[]]);

/** Name of the command's Update. */
export const updateName = (name: CommandName): string => `srlm${name.charAt(0).toUpperCase()}${name.slice(1)}`;

/** Name of the query that a run, or a sample run, answers with its state. */
export const STATE_QUERY = 'srlmState';
