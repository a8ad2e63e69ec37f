/**
 * Off-policy selector [ours]: the candidate under which the *reference* model finds the answer most likely.
 * The score is the mean log-probability of the answer, in nats per token.
 */
import { byScore } from './selector.js';

export const offPolicy = byScore('off-policy');
