/** Guard: no letter and no digit. */
import type { GuardRule } from './index.js';

export const empty: GuardRule = ({ rationale }) => !/[\p{L}\p{N}]/u.test(rationale);
