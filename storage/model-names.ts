/** What a user may have meant by the name of a model that is not there: names of Hugging Face's Hub, and what is below the roots. */
import { access, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** `ORG/NAME`, also in the address of its page. */
export interface HubName {
  repository: string;
  name: string;
}

/** null: it is a path. A path that begins like one, such as ./a/b, is no name of the Hub. */
export function hubName(path: string): HubName | null {
  const [, org, name] =
    /^(?:(?:https?:\/\/)?(?:www\.)?(?:huggingface\.co|hf\.co)\/|hf:\/\/)?([A-Za-z0-9][\w.-]{0,95})\/([A-Za-z0-9][\w.-]{0,95})(?:\/(?:tree\/[\w.-]+\/?)?)?$/.exec(
      path,
    ) ?? [];
  return org && name ? { repository: `${org}/${name}`, name } : null;
}

const MAX_DEPTH = 4;
const MAX_FOLDERS = 1000;
const MAX_NAMES = 100;

/** Model folders below the roots, by the paths that name them in a spec. Looks at a bounded number of folders. */
export async function modelsBelow(roots: readonly string[]): Promise<string[]> {
  const found = new Set<string>();
  let left = MAX_FOLDERS;
  const walk = async (root: string, place: string, depth: number): Promise<void> => {
    if (left-- <= 0 || found.size >= MAX_NAMES) return;
    const folder = join(root, place);
    if (place && (await exists(join(folder, 'config.json')))) {
      found.add(place);
      return;
    }
    if (depth === MAX_DEPTH) return;
    const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1)))
      if (!entry.name.startsWith('.') && (entry.isDirectory() || entry.isSymbolicLink()))
        await walk(root, place ? `${place}/${entry.name}` : entry.name, depth + 1);
  };
  for (const root of roots) await walk(root, '', 0);
  return [...found];
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
