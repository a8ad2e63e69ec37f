/** Self-instruct: a row has one instruction and a list `instances` of inputs and outputs; the first one is used. */
import type { Form, Parts, UserObject } from './form.js';

export const instances: Form = {
  row(row) {
    const first: unknown = Array.isArray(row.instances) ? row.instances[0] : null;
    if (typeof first !== 'object' || first === null) return null;
    const { input, output } = first as UserObject;
    const found = (name: string, value: unknown) => ({ name: `instances[0].${name}`, fields: ['instances'], value });
    return {
      ...(input === undefined ? {} : { input: found('input', input) }),
      ...(output === undefined ? {} : { answer: found('output', output) }),
    } satisfies Parts;
  },
};
