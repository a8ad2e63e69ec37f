/**
 * The only place that writes to a terminal or a log. Whatever a line contains (a model, a data file, an endpoint or another
 * workflow may have written it), it stays one line and steers nothing: `visible` of text.ts, at the writer, so that no
 * caller can forget it.
 */
import { visible, visibleJson } from './text.js';

/** What the tree of a run is drawn with. Other text may imitate a colour, which is all that it can do with these. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the escapes of a terminal
const STYLE = /(\u001b\[(?:0|2|31|32|33|36)m)/;

export const hasColor = ({ isTTY }: NodeJS.WriteStream): boolean =>
  isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb';

/** One line of a result. */
export const writeResult = (line: string): void => writeLine(process.stdout, line);

/** One line for whoever watches, or for the log. */
export const writeNote = (line: string): void => writeLine(process.stderr, line);

/** A JSON document on a line of its own. */
export const writeJson = (value: unknown): void => {
  process.stdout.write(`${visibleJson(value)}\n`);
};

function writeLine(stream: NodeJS.WriteStream, line: string): void {
  stream.write(`${styled(line, hasColor(stream))}\n`);
}

/** A line whose styles are kept where `color` says so, and nothing else that a terminal would obey. */
export const styled = (line: string, color: boolean): string =>
  color
    ? line
        .split(STYLE)
        .map((part, i) => (i % 2 === 1 ? part : visible(part)))
        .join('')
    : visible(line);
