/**
 * Commands that an operator sends to a run, one schema each. A command is a Temporal Update `srlm<Name>` with one argument;
 * workflows/control/commands.ts says when it is allowed and what it does.
 */
import { z } from 'zod';
import { explain } from './issues.js';
import { jsonBytes } from './refs.js';

/** Dotted field of the run's settings -> its new value. */
export const Settings = z.record(z.string().min(1).max(100), z.json());
export type Settings = z.infer<typeof Settings>;

const MAX_SETTINGS_BYTES = 1500;
const BoundedSettings = Settings.refine(
  (set) => jsonBytes(set) <= MAX_SETTINGS_BYTES,
  `must be at most ${MAX_SETTINGS_BYTES} bytes of JSON`,
);

const Actor = z.strictObject({
  who: z.string().max(120),
  why: z.string().max(500).default(''),
});

type Answered = 'parked' | 'waiting' | 'any';
/** Answers a parked step, an approval, or (`any`) either. `answers`: `since` of the one that is meant, and of no later one. */
const answerTo = (halt: Answered) => Actor.extend({ answers: z.string().max(40).optional().meta({ halt }) });

export const COMMANDS = {
  /** `acceptModel`: continue with the model folder as it is now. */
  retry: answerTo('parked').extend({ set: BoundedSettings.optional(), acceptModel: z.literal(true).optional() }),
  skip: answerTo('parked'),
  approve: answerTo('waiting'),
  reject: answerTo('waiting'),
  abort: answerTo('any'),
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

/** The kind of halt that the command answers; null: it answers none. */
export function answeredBy(name: CommandName): Answered | null {
  const { shape } = COMMANDS[name];
  return 'answers' in shape ? (shape.answers.meta()?.halt as Answered) : null;
}

/** Why `value` is not the command `name`, without a full stop; null: it is. */
export function commandProblem(name: CommandName, value: unknown): string | null {
  const schema = COMMANDS[name];
  const [issue] = schema.safeParse(value, { reportInput: true }).error?.issues ?? [];
  if (!issue) return null;
  const { field, reason } = explain(issue);
  const isShape = issue.code === 'unrecognized_keys' || issue.code === 'invalid_type';
  const fields = isShape ? ` (the fields of ${name} are ${Object.keys(schema.shape).join(', ')})` : '';
  return `${field ? `${field}: ` : ''}${reason}${fields}`;
}

/** Name of the command's Update. */
export const updateName = (name: CommandName): string => `srlm${name.charAt(0).toUpperCase()}${name.slice(1)}`;

/** Name of the query that a run, or a sample run, answers with its state. */
export const STATE_QUERY = 'srlmState';

/** Name of the signal by which a run of a study reports to it how far it is (contracts/study.ts: StudyNote). */
export const STUDY_SIGNAL = 'srlmStudyNote';
