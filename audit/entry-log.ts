/**
 * Entries of a timeline as the readers of a history find them, some before others that happened earlier. Invariant of
 * the order: by execution, then by event; clocks of servers take no part in it. Pure.
 */
import { type Event, isoOf } from './events.js';
import type { Entry, EntryOf } from './timeline.js';

interface TimedEntry {
  execution: number;
  eventId: number;
  entry: Entry;
}

export class EntryLog {
  private readonly timed: TimedEntry[] = [];
  private execution = 0;

  nextExecution(): void {
    this.execution++;
  }

  /** Returns the entry, whose later fields the caller may still set. */
  add<Kind extends Entry['kind']>(
    event: Pick<Event, 'eventId' | 'eventTime'>,
    round: number | null,
    kind: Kind,
    fields: Omit<EntryOf<Kind>, 'kind' | 'at' | 'round'>,
  ): EntryOf<Kind> {
    const entry = { kind, at: isoOf(event), round, ...fields } as unknown as EntryOf<Kind>;
    this.timed.push({ execution: this.execution, eventId: Number(event.eventId), entry });
    return entry;
  }

  entries(): Entry[] {
    return [...this.timed].sort((a, b) => a.execution - b.execution || a.eventId - b.eventId).map(({ entry }) => entry);
  }

  /** The newest entry that fits, in the order in which they were added. */
  findLast<Kind extends Entry['kind']>(kind: Kind, fits: (entry: EntryOf<Kind>) => boolean): EntryOf<Kind> | undefined {
    const found = this.timed.findLast(({ entry }) => entry.kind === kind && fits(entry as EntryOf<Kind>));
    return found?.entry as EntryOf<Kind> | undefined;
  }
}
