/**
 * srlm catalyst review: a Markdown file in which a person keeps, drops or edits each catalyst, and with --apply the set that
 * comes of it. Needs no Temporal. Throws data.invalid for what is not a review, or not of this file; file.not-writable.
 */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { dataUnusable } from '../../contracts/errors.js';
import type { Catalyst } from '../../contracts/rows.js';
import { readReview, reviewed, reviewText } from '../../method/catalysts/review.js';
import { visibleJson } from '../../text/text.js';
import { action, EXIT, UsageError } from './context.js';
import { fileWriter } from './output-file.js';

interface ReviewOptions {
  apply?: string;
  out?: string;
}

/** A person reads no more; a program edits the file itself. */
const MAX_CATALYSTS = 20_000;
const MAX_REVIEW_BYTES = 256 * 2 ** 20;

export function addCatalystReview(group: Command): void {
  group
    .command('review')
    .description('write a Markdown file with a keep, drop or edit field for each catalyst, and read it back')
    .argument('<file>', 'the catalysts')
    .option('--apply <review.md>', 'read the review back, and write the catalysts that stay')
    .option('--out <file>', 'the review (default: FILE.review.md); with --apply, the new file of catalysts')
    .action(
      action(async (context, file: string, { apply, out }: ReviewOptions) => {
        if (apply !== undefined && out === undefined) throw new UsageError('--apply: name the new file with --out.');
        const target = out ?? `${file}.review.md`;
        if ([file, apply].some((one) => one !== undefined && resolve(one) === resolve(target)))
          throw new UsageError(`--out ${target}: name another file than those that are read.`);
        const write = await fileWriter(target);
        const { catalysts, sha256 } = await catalystsOf(file);
        if (apply === undefined) {
          const { existsSync } = await import('node:fs');
          if (existsSync(target))
            throw new UsageError(`${target} exists, and may hold decisions: name another file with --out.`);
          await write(lines(reviewText(file, sha256, catalysts)));
          context.print({ file, out: target, catalysts: catalysts.length }, [target]);
          context.say(`Change its decisions, then:  srlm catalyst review ${file} --apply ${target} --out NEW.jsonl`);
          return EXIT.done;
        }
        const review = readReview(apply, await textOf(apply), catalysts);
        if (review.sha256 !== sha256)
          throw dataUnusable(
            apply,
            `it is a review of another state of ${file}.`,
            'Write a new review, or restore the file.',
          );
        const rows = await write(jsonLines(reviewed(catalysts, review)));
        const count = (decision: string) => review.decided.filter((one) => one.decision === decision).length;
        const [kept, edited, dropped] = ['keep', 'edit', 'drop'].map(count);
        context.print({ file, out: target, rows, kept, edited, dropped }, [
          `${target}: ${rows} catalysts; ${kept} kept, ${edited} edited, ${dropped} dropped`,
        ]);
        return EXIT.done;
      }),
    );
}

async function catalystsOf(file: string): Promise<{ catalysts: Catalyst[]; sha256: string }> {
  const { readData } = await import('../../method/formats/index.js');
  const { readFileBytes } = await import('../../storage/unpack.js');
  const { sha256File } = await import('../../storage/files.js');
  const catalysts: Catalyst[] = [];
  const path = resolve(file);
  for await (const row of readData('catalysts', readFileBytes(path, file), file, {}, null)) {
    if (catalysts.length === MAX_CATALYSTS)
      throw dataUnusable(file, `it has more than ${MAX_CATALYSTS} catalysts, which nobody reviews by hand.`);
    catalysts.push(row);
  }
  return { catalysts, sha256: await sha256File(path) };
}

async function textOf(file: string): Promise<string> {
  const { readFileBytes } = await import('../../storage/unpack.js');
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of readFileBytes(resolve(file), file)) {
    bytes += part.length;
    if (bytes > MAX_REVIEW_BYTES) throw dataUnusable(file, 'it is too long for a review.');
    parts.push(part);
  }
  return new TextDecoder().decode(Buffer.concat(parts));
}

async function* lines(of: Iterable<string>): AsyncGenerator<string> {
  yield* of;
}

async function* jsonLines(catalysts: Iterable<Catalyst>): AsyncGenerator<string> {
  for (const { answer, ...row } of catalysts) yield visibleJson({ ...row, ...(answer === null ? {} : { answer }) });
}
