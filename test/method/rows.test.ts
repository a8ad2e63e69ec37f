import fc from 'fast-check';
import { expect, it } from 'vitest';
import { groupById } from '../../method/rows.js';

const rows = fc.array(fc.record({ id: fc.constantFrom('a', 'b', '__proto__', ''), k: fc.nat() }));

it('groups have every row once, in order, under its id', () =>
  fc.assert(
    fc.property(rows, (all) => {
      const groups = groupById(all);
      expect([...groups.keys()]).toEqual([...new Set(all.map(({ id }) => id))]);
      for (const [id, group] of groups) expect(group).toEqual(all.filter((row) => row.id === id));
    }),
  ));
