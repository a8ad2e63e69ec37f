/**
 * On-policy selector [ours]: the candidate under which the *current* model M(t-1) finds the answer most likely.
 * The score is the mean log-probability of the answer, in nats per token.
 */
import { byScore } from './selector.js';

export const onPolicy = byScore('on-policy');
