/**
 * What a refusal is about, read from its codes and its wording: the content of this one prompt, its length, the number of
 * tokens asked for, or a parameter that the endpoint does not take. Pure.
 */
import type { HttpError } from './http.js';

/** Some of these patterns take as long as the square of a message's length, which is anything. */
const MAX_READ_CHARS = 3000;
const textOf = (error: HttpError): string => error.message.slice(0, MAX_READ_CHARS);
const labelsOf = ({ reply }: HttpError): string[] =>
  [reply.code, reply.type, ...reply.labels].filter((label): label is string => label !== null);

/** No prompt is refused with these: the key, money, an address, too many requests, a server that fails. */
const NEVER_THE_ROW = new Set([401, 402, 404, 405, 407, 408, 409, 429]);
/** Could this refusal be about the row alone? A status below 400: an error in a reply that says it is none. */
export const mayConcernRow = ({ status }: HttpError): boolean =>
  status < 300 || (status >= 400 && status < 500 && !NEVER_THE_ROW.has(status));

// --- content ----------------------------------------------------------------------------------------------------------
const FILTER_CODE =
  /content.?(filter|policy|inspection|moderation)|data_?inspection|responsible_?ai|moderation|prohibited_content|prompt_?(blocked|filtered)|guardrail|unsafe|safety|jailbreak/i;
const FILTER_WORDS =
  /content (management )?polic|content.filter|content.moderation|moderation|guardrail|(prompt|input|message|request|content|text|data)\b.{0,60}(flagged|filtered|blocked|inappropriate|unsafe|sensitive|high risk)|(flagged|blocked|rejected) .{0,60}(safety|policy|unsafe|harm|high risk|content)|safety (system|filter|setting|polic|reason)|(violat|against|breach)\w* .{0,60}(usage|content|safety|use) polic|inappropriate content|exists? risk|violat\w* .{0,40}\b(?:guideline|polic|terms)|敏感|不安全/iu;
const ACCOUNT_WORDS = /\b(account|organi[sz]ation|project|workspace|subscription)\b|access (was|has been|is) /i;
const MAX_LABEL_CHARS = 40;
const PLAIN_FILTER = 'content_filter';

/** The reason of the row's outcome, a short label; null: the refusal is not about what the prompt says. */
export function filterOf(error: HttpError): string | null {
  if (!mayConcernRow(error)) return null;
  const label = labelsOf(error).find((one) => FILTER_CODE.test(one));
  if (label) return label.length <= MAX_LABEL_CHARS && /^[\w.-]+$/.test(label) ? label : PLAIN_FILTER;
  const text = textOf(error);
  return FILTER_WORDS.test(text) && !ACCOUNT_WORDS.test(text) ? PLAIN_FILTER : null;
}

// --- length -----------------------------------------------------------------------------------------------------------
/**
 * `prompt`: the prompt alone leaves no room worth having. `room`: so many tokens are left beside the prompt. `most`: the
 * endpoint writes no more than that in any reply. `unclear`: the two together are too long, and nobody says by how much.
 */
export type Fit = 'prompt' | 'unclear' | { room: number } | { most: number };

const LENGTH_CODE =
  /context_(length|window)|exceed_?context|(prompt|input|request|string|tokens?)_?(is_)?(too_(long|large)|above_max)|max_?tokens_?exceeded/i;
const TOO_LONG =
  /(context|sequence)[ _-](length|size|window|limit)|context of \d|maximum[\w ]{0,20} length|max(imum)?[ _](seq|model|input|context)\w*[ _]len|\b(prompt|input|request|message|text|string|context|token)\w*\b.{0,60}(too (long|large)|longer than|does ?n[o']t fit)|too many tokens|range of input length|too (long|large) for .{0,20}model|(reduce|shorten) (the |your )?(length|input|prompt|size)/i;
/** Other things are bounded, too: these words count where they are about tokens. */
const TOO_MANY = /(exceed|surpass)\w*|more than|(at most|less than|<=?|up to|no more than)\s*`?\d|> *\d+/i;
const OF_TOKENS = /\btokens?\b/i;
/** The tokens of the reply have a part in it. */
const WITH_REPLY =
  /max_\w*tokens|maxtokens|completion|max_?new_?tokens|new tokens|output|generat(e|ion)|\brequested:? (?:a total of )?\d/i;
const OUTPUT_LIMIT = [
  /supports? at most (\d+) (?:completion|output) tokens/i,
  /> (\d+), which is the maximum (?:allowed )?number of output tokens/i,
  /range of max_\w*tokens (?:is|should be) \[\d+, ?(\d+)\]/i,
  /max_\w*tokens`?:? .{0,20}should be less than or equal to (\d+)/i,
  /maximum tokens you requested exceeds the model limit of (\d+)/i,
  /max_\w*tokens`? must be (?:less than or equal to|at most|<=|no more than|between \d+ and) `?(\d+)/i,
  /max_\w*tokens`?[^.]{0,40}(?:exceeds?|larger than|greater than|above)[^.\d]{0,40}(?:output|completion)[^.\d]{0,30}(\d+)/i,
];
/** Whose end is not among them. */
const OUTPUT_END =
  /max_?\w*tokens value of \d+ but the supported range is from \d+ \(inclusive\) to (\d+) \(exclusive\)/i;
const LIMIT = [
  /context limit: \d+ \+ \d+ > (\d+)/i,
  /(?:context|sequence) (?:length|size|window|limit)\D{0,30}?(\d+)/i,
  /maximum (?:context |model |sequence |input |total )*(?:length|size|tokens|limit)\D{0,30}?(\d+)/i,
  /(?:must be |may be |be )?(?:<=?|at most|less than(?: or equal to)?|no more than|up to)\s*`?(\d+)/i,
  /limit:? (\d+)/i,
];
const PROMPT = [
  /(\d+) (?:tokens )?(?:in|from|of) the (?:input |prompt )?(?:messages|prompt|input)/i,
  /(\d+) (?:`?inputs?`?|prompt|text) tokens/i,
  /(?:prompt|inputs?|messages)`? (?:has|have|contains?|is|are|of|tokens?:?|length:?)\s*\(?(\d+)/i,
  /context limit: (\d+) \+ \d+ >/i,
  /given(?: are|:)? (\d+)/i,
];

const TOTAL = [/requested:? (?:a total of )?(\d+)(?! (?:output|completion))/i];

/** Less than this part of the tokens asked for is no room worth having: the prompt is what does not fit. */
const LEAST_ROOM = 1 / 8;

/** null: the refusal is about something else. `maxTokens`: as they were asked for. */
export function fitOf(error: HttpError, maxTokens: number): Fit | null {
  const isQuotaOfTokens = error.status === 429 && /request too large/i.test(textOf(error));
  if (!mayConcernRow(error) && !isQuotaOfTokens) return null;
  if (error.status === 413) return 'prompt';
  const text = textOf(error).replace(/(?<=\d)[,_ ](?=\d{3}\b)/g, '');
  const most = mostIn(text);
  if (most !== null && most < maxTokens) return { most };
  const byCode = labelsOf(error).some((label) => LENGTH_CODE.test(label));
  if (!byCode && !TOO_LONG.test(text) && !(OF_TOKENS.test(text) && TOO_MANY.test(text))) return null;
  if (!WITH_REPLY.test(text)) return 'prompt';
  return fitIn(text, maxTokens);
}

/** The most tokens that a refusal says may be asked for; null: it says nothing of the kind. */
function mostIn(text: string): number | null {
  const end = numberIn([OUTPUT_END], text);
  const most = numberIn(OUTPUT_LIMIT, text) ?? (end === null ? null : end - 1);
  return most !== null && most > 0 ? most : null;
}

function fitIn(text: string, maxTokens: number): Fit {
  const limit = numberIn(LIMIT, text);
  const total = numberIn(TOTAL, text);
  const prompt = numberIn(PROMPT, text) ?? (total === null ? remainder(text, [limit, maxTokens]) : total - maxTokens);
  if (limit === null || prompt === null) return 'unclear';
  const room = limit - prompt;
  return room < Math.max(1, maxTokens * LEAST_ROOM) ? 'prompt' : { room };
}

/** The one number that is left once the known ones and their sums are taken away. */
function remainder(text: string, known: readonly (number | null)[]): number | null {
  const [limit, maxTokens] = known as [number | null, number];
  const numbers = [...new Set([...text.matchAll(/(?<![\w.])\d+(?![\w.]*\w)/g)].map(([number]) => Number(number)))];
  const left = numbers.filter((number) => number !== limit && number !== maxTokens);
  const parts = left.filter((number) => !left.includes(number - maxTokens));
  return parts.length === 1 ? parts[0]! : null;
}

function numberIn(patterns: readonly RegExp[], text: string): number | null {
  for (const pattern of patterns) {
    const found = pattern.exec(text)?.[1];
    if (found !== undefined) return Number(found);
  }
  return null;
}

// --- parameters -------------------------------------------------------------------------------------------------------
const UNSUPPORTED =
  /unsupported|not (?:\w+ )?(?:supported|permitted|allowed|accepted|available)|(?:does|do)(?: not|n't) (?:support|accept|take|allow)|unrecogni[sz]ed|unknown|unexpected|extra (?:inputs?|fields?|forbidden)|invalid (?:parameter|argument|field)|only .{0,40}(?:supported|allowed|default)|use '?max_|no such (?:field|parameter)|cannot find field|additional propert/i;
/** A bound on `n` is as good as none: the texts are asked for one by one; so is one on seeds. */
const BOUNDED =
  /(?:must|should|can only|has to) be\b|\bonly\b|at most|maximum|less than|(?:greater|more|larger) than|exceed|between|multiple (?:choices|completions|generations)/i;

/** llama.cpp names it by what it does. */
const ONE_CHOICE = /\bonly one (?:completion )?choice\b|multiple (?:choices|completions|generations)\b.{0,20}\bnot\b/i;
/** Without them, nothing would be drawn otherwise: a bound that they do not keep is reason enough. */
const NEUTRAL: Record<string, unknown> = { top_p: 1 };
/** Anthropic's newer models take one of two. */
const ONE_OF = /cannot (?:both|be (?:both )?(?:specified|used|set))|only one of|either .{0,40} or .{0,40} not both/i;

/**
 * Does the refusal say that the endpoint does not take this parameter, whatever its value? `value`: what was sent.
 */
export function isUnsupported(error: HttpError, name: string, value?: unknown): boolean {
  if (error.status < 400 || ![400, 404, 422, 500, 501].includes(error.status)) return false;
  const text = textOf(error);
  if (name === 'n' && ONE_CHOICE.test(text)) return true;
  // The parameter is taken, but not so much of it.
  if (/^max_\w*tokens$/.test(name) && mostIn(text) !== null) return false;
  const words = [text, ...labelsOf(error)].some(
    (one) => UNSUPPORTED.test(one.replaceAll('_', ' ')) || UNSUPPORTED.test(one),
  );
  const isNamed = error.reply.param?.split('.').at(-1) === name || isQuoted(text, name);
  const isFree = name === 'n' || name === 'seed' || (name in NEUTRAL && NEUTRAL[name] === value);
  return isNamed && (words || (isFree && (BOUNDED.test(text) || ONE_OF.test(text))));
}

/** A short or common word counts where it is marked as a name. */
function isQuoted(text: string, name: string): boolean {
  const marked = new RegExp(
    `["'\`]${name}["'\`]|\\b${name}(?: ?=|:| must| should)|(?:parameter|argument|field|supplied:?|name) ["'\`]?${name}\\b`,
  );
  return marked.test(text) || (name.includes('_') && new RegExp(`\\b${name}\\b`).test(text));
}

const STREAMS_ALONE =
  /only supports? (?:the )?stream|enable the stream|must (?:have|set|use) `?stream(?:ing)?\b|stream(?:ing)? (?:is required|must be)|for non-?stream/i;
/** Does the endpoint refuse to answer in one piece? */
export const streamsAlone = (error: HttpError): boolean =>
  [400, 422].includes(error.status) && STREAMS_ALONE.test(textOf(error));
