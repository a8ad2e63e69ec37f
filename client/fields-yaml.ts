/**
 * `fields` of a spec as one line of YAML, in which a name that needs quotation marks is JSON, and as `srlm data check FILE`
 * takes them. Throws nothing.
 */
import type { Fields } from '../contracts/spec.js';
import { visibleJson } from '../text/text.js';

export function fieldsYaml(fields: Fields): string {
  const pairs = Object.entries(fields).map(([part, paths]) => `${part}: ${pathsYaml(paths)}`);
  return `{ ${pairs.join(', ')} }`;
}

const pathsYaml = (paths: string | string[]) =>
  Array.isArray(paths) ? `[${paths.map(yamlWord).join(', ')}]` : yamlWord(paths);

/** Words that YAML reads as something else than a text are quoted, too. */
export const yamlWord = (text: string): string =>
  /^(?:(?:\.\.?)?\/)*[A-Za-z_][\w./-]*$/.test(text) && !/^(?:true|false|null|yes|no|on|off|y|n|none)$/i.test(text)
    ? text
    : visibleJson(text);

/** `data check` with the fields, for a shell. */
export function checkCommand(file: string, fields: Fields, options = ''): string {
  const flags = Object.entries(fields).flatMap(([part, paths]) =>
    [paths].flat().map((path) => ` --field ${quoted(`${part}=${path}`)}`),
  );
  return `srlm data check ${quoted(file)}${options}${flags.join('')}`;
}

const quoted = (text: string) => (/^[\w./=:@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
