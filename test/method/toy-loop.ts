/**
 * The loop in small, for tests of the collapse watch: a language model of word pairs that samples candidates, the real
 * selectors, and a training that counts the pairs of the chosen texts. Everything follows from the seed. Its texts mean
 * nothing; how varied and how long they are develops as in a real loop, because it is trained on what was selected.
 */
import { type Decision, INCUMBENT } from '../../contracts/rows.js';
import { type RunSpec, Selection } from '../../contracts/spec.js';
import { random } from '../../method/random.js';
import { decide } from '../../method/selectors/index.js';
import { Choices } from '../../method/watch/choices.js';
import { watchReplies } from '../../method/watch/index.js';
import type { Watched } from '../../method/watch/limits.js';

const ROWS = 60;
const WORDS = 200;
const END = '.';
const LONGEST = 60;

const START = '';

/** Word -> the words that follow it, with their counts. */
type Pairs = Map<string, Map<string, number>>;

function count(pairs: Pairs, text: string, weight: number): void {
  let before = START;
  for (const word of [...text.split(' ').filter((one) => one !== END && one !== ''), END]) {
    const next = pairs.get(before) ?? new Map<string, number>();
    pairs.set(before, next.set(word, (next.get(word) ?? 0) + weight));
    before = word;
  }
}

/** A language model that a temperature is applied to. */
class Writer {
  private readonly next = new Map<string, { words: string[]; sums: number[] }>();

  constructor(
    private readonly pairs: Pairs,
    private readonly temperature: number,
    private readonly draw: () => number,
  ) {}

  /** A text about a row begins with the row's own word. */
  text(first: string): string {
    const words = [first];
    while (words.length < LONGEST) {
      const word = this.after(words.at(-1)!);
      if (word === END) break;
      words.push(word);
    }
    return `${words.join(' ')} ${END}`;
  }

  private after(before: string): string {
    let found = this.next.get(before);
    if (!found) {
      const counts = this.pairs.get(before) ?? this.pairs.get(START)!;
      const ranked = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
      let sum = 0;
      const sums = ranked.map(([, n]) => (sum += this.temperature === 0 ? 0 : n ** (1 / this.temperature)));
      found = { words: ranked.map(([word]) => word), sums };
      this.next.set(before, found);
    }
    const at = this.draw() * found.sums.at(-1)!;
    return found.words[found.sums.findIndex((sum) => sum >= at)]!;
  }
}

export interface Plan {
  selector: RunSpec['selection']['selector'];
  temperature: number;
}

/** The numbers of rounds 0 to `rounds`. `planAt`: how a round samples and selects. */
export async function toyLoop(seed: number, rounds: number, planAt: (round: number) => Plan): Promise<Watched[]> {
  const draw = random(seed);
  const word = () => `w${Math.floor(WORDS * draw() ** 2)}`;
  const text = () => [...Array.from({ length: 12 + Math.floor(12 * draw()) }, word), END].join(' ');
  const base: Pairs = new Map();
  for (let i = 0; i < 400; i++) count(base, text(), 1);
  let model = trained(Array.from({ length: ROWS }, text));
  let set = Array.from({ length: ROWS }, () => Array.from({ length: 6 }, word).join(' '));
  const found: Watched[] = [];
  for (let round = 0; round <= rounds; round++) {
    const choices = new Choices({ selector: planAt(round).selector });
    if (round > 0) {
      const { selector, temperature } = planAt(round);
      const writer = new Writer(model, temperature, draw);
      set = set.map((incumbent, row) => {
        const lines = decided(incumbent, row, writer, selector);
        choices.add(lines);
        return lines.find(({ chosen }) => chosen)!.rationale;
      });
      model = trained(set);
    }
    const replies = async function* () {
      const writer = new Writer(model, 0.3, draw);
      for (let q = 0; q < 40; q++) yield { reply: writer.text(`w${q}`) };
    };
    const setChars = set.reduce((sum, one) => sum + one.length, 0) / ROWS;
    found.push({ round, watch: { ...choices.result, setChars, ...(await watchReplies(replies())) } });
  }
  return found;

  /** From the start each time, as the method trains by default; with catalysts, which never change. */
  function trained(set: readonly string[]): Pairs {
    const pairs: Pairs = new Map([...base].map(([before, next]) => [before, new Map(next)]));
    for (const one of set) count(pairs, one, 1);
    return pairs;
  }

  function decided(incumbent: string, row: number, writer: Writer, selector: Plan['selector']): Decision[] {
    const lines = [INCUMBENT, 0, 1, 2, 3].map((k) => {
      const rationale = k === INCUMBENT ? incumbent : writer.text(`w${row}`);
      // How likely the answer is after it: noise, as the text means nothing.
      const scores = { 'off-policy': -2 + draw(), 'on-policy': -1 };
      return { id: `${row}`, k, rationale, chars: rationale.length, guard: null, scores };
    });
    return decide(lines, Selection.parse({ selector }), `${seed} ${row}`);
  }
}
