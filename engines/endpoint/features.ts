/**
 * What an endpoint takes of a request, found out by a few tiny ones: a plain one, then one for each feature. Their
 * replies have a few tokens each.
 */
import { type ChatClient, type ClientOptions, noCost, type SampleRequest } from '../client.js';
import { Dialect, type DialectSettings } from '../dialect.js';

export interface Features {
  takes: string[];
  /** With the setting that says so. */
  takesNot: string[];
  /** What else is unusual about it. */
  remarks: string[];
  /** Why nothing came of the plain request; null: a text came, or would have come with more tokens. */
  silence: string | null;
}

const NAMES = { n: 'n', seed: 'seed', topK: 'top_k' } as const;
type Feature = keyof typeof NAMES;

const request: SampleRequest = {
  messages: [{ role: 'user', content: 'Say yes.' }],
  ...{ n: 1, seed: 1, temperature: 0.7, topP: 1, topK: 20, maxTokens: 16, stop: [], requestId: 'features' },
};

/** Throws what a request throws. A feature that is set to false is not tried. */
export async function featuresOf(
  settings: DialectSettings,
  options: Omit<ClientOptions, 'dialect'>,
  open: (options: ClientOptions) => ChatClient,
  signal: AbortSignal,
): Promise<Features> {
  const remarks = new Set<string>();
  const ask = async (feature: Feature | null) => {
    const one = { n: false, seed: false, topK: false, ...(feature ? { [feature]: true } : {}) };
    const found: string[] = [];
    const dialect = new Dialect({ ...settings, ...one }, (what) => found.push(what));
    const cost = noCost();
    const client = open({ ...options, dialect });
    const [completion] = await client.sample({ ...request, n: feature === 'n' ? 2 : 1 }, signal, cost);
    return { completion: completion!, taken: feature !== null && dialect.takes(NAMES[feature]), found, cost };
  };
  const plain = await ask(null);
  for (const what of plain.found) remarks.add(what);
  if (plain.cost.estimated) remarks.add('It reports no usage: tokens are estimated.');
  const { text, finish, reason } = plain.completion;
  const silence = text.trim() === '' && finish !== 'length' ? (reason ?? finish) : null;
  if (silence !== null) return { takes: [], takesNot: [], remarks: [...remarks], silence };
  const wanted = (Object.keys(NAMES) as Feature[]).filter((feature) => settings[feature]);
  const tried = await Promise.all(wanted.map(async (feature) => ({ feature, ...(await ask(feature)) })));
  return {
    takes: tried.filter(({ taken }) => taken).map(({ feature }) => NAMES[feature]),
    takesNot: tried.filter(({ taken }) => !taken).map(({ feature }) => `${NAMES[feature]} (${feature}: false)`),
    remarks: [...remarks],
    silence,
  };
}
