/** Writes the demo's narrow task.  Usage: node demo/narrow.mjs OUT_DIR [--seed 0]
 *
 *  Adding six numbers of one digit: a templated task, on which a small model on a small machine visibly improves itself.
 *  It shows the mechanism and says nothing about general ability. write-task.mjs says what it writes. */
import { writeTask } from './write-task.mjs';

/** "Step by step: 8+3=11, 11+8=19, ...". Without spaces it has 48 tokens and is learned from 32 examples; with spaces it
 *  has 71 and was not learned. */
function workOut(numbers) {
  let sum = numbers[0];
  const steps = numbers.slice(1).map((next) => {
    const before = sum;
    sum += next;
    return `${before}+${next}=${sum}`;
  });
  return `Step by step: ${steps.join(', ')}.`;
}

writeTask({
  counts: { train: 150, catalysts: 32, evaluation: 200 },
  short: ['Add them up.', 'Just add all the numbers.', 'Sum the numbers.'],
  ask(pick) {
    const numbers = Array.from({ length: 6 }, () => pick([2, 3, 4, 5, 6, 7, 8, 9]));
    const answer = String(numbers.reduce((sum, number) => sum + number));
    return { question: `What is ${numbers.join(' + ')}?`, answer, working: workOut(numbers) };
  },
});
