/** Waiting: for what may never come, for a test's word, for a cancellation. */
import { Context } from '@temporalio/activity';

/** How long a test waits for anything: a busy machine is slow, and a wrong run never gets there. */
export const PATIENCE_MS = 90_000;

/** Rejects with `what` where `promise` is not settled soon. */
export async function within<T>(promise: Promise<T>, what: () => string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(what())), PATIENCE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A promise that a script can wait for, and a test can settle. */
export function gate<T = void>(): { wait: Promise<T>; open: (value: T) => void } {
  let open: (value: T) => void = () => {};
  const wait = new Promise<T>((resolve) => {
    open = resolve;
  });
  return { wait, open };
}

/** Waits like an activity that is busy: until `until` is settled, or it is cancelled. */
export async function busy<T = never>(until: Promise<T> = new Promise(() => {})): Promise<T> {
  const { cancelled } = Context.current();
  const beat = setInterval(() => Context.current().heartbeat(), 200);
  try {
    return (await Promise.race([until, cancelled])) as T;
  } finally {
    clearInterval(beat);
  }
}

/** What several tests look at is computed once. */
export function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}
