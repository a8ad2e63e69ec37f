/** Self-instruct: a row has one instruction and a list `instances` of inputs and outputs; the first one is used. */
import type { Form, UserObject } from './form.js';

export const instances: Form = {
  row(row) {
    const first: unknown = Array.isArray(row.instances) ? row.instances[0] : null;
    return typeof first === 'object' && first !== null ? { ...row, ...(first as UserObject) } : null;
  },
};
