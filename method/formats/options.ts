/**
 * Choices that names do not find: a question that is an object with its stem and choices (ARC, CommonsenseQA as they
 * were published), and a field for each choice (A, B, C, D in MMLU's tables; opa to opd; option1 and option2).
 */
import type { Form, Parts, UserObject } from './form.js';

export const stem: Form = {
  row({ question }) {
    if (typeof question !== 'object' || question === null || Array.isArray(question)) return null;
    const { stem, choices } = question as UserObject;
    if (typeof stem !== 'string') return null;
    const found = (name: string, value: unknown) => ({ name: `question.${name}`, fields: ['question'], value });
    return {
      instruction: found('stem', stem),
      ...(choices === undefined ? {} : { choices: found('choices', choices) }),
    };
  },
};

/** Letters alone are capitals: a row may have an `a` for other reasons. */
const COLUMN = /^(?:()([A-Z])|((?:option|choice|op|ending|answer|sol)_?)([A-Za-z]|\d))$/;

export const columns: Form = {
  row(row) {
    if (row.choices !== undefined || row.options !== undefined) return null;
    const groups = new Map<string, { label: string; name: string }[]>();
    for (const name of Object.keys(row)) {
      const [, , letter, prefix, suffix] = COLUMN.exec(name) ?? [];
      const label = letter ?? suffix;
      if (label === undefined) continue;
      const group = groups.get(prefix ?? '') ?? [];
      groups.set(prefix ?? '', [...group, { label, name }]);
    }
    for (const [prefix, group] of groups) {
      const sorted = group.sort((a, b) => (a.label < b.label ? -1 : 1));
      const first = sorted[0]!.label.toUpperCase();
      const isRow = sorted.every(({ label }, i) => label.toUpperCase().charCodeAt(0) === first.charCodeAt(0) + i);
      if (sorted.length < 2 || !isRow || !['A', '0', '1'].includes(first)) continue;
      return choices(row, prefix, sorted);
    }
    return null;
  },
};

/** A cell that is empty is no choice: tables have as many columns as their longest question needs. */
function choices(row: UserObject, prefix: string, columns: readonly { label: string; name: string }[]): Parts {
  const filled = columns.filter(({ name }) => row[name] !== null && row[name] !== '');
  const labels = filled.map(({ label }) => label);
  // Digits are what an index counts with; but a class that has a number, such as PIQA's, counts from 0 in any case.
  const isCounted = /\d/.test(labels[0] ?? '');
  const isClass = prefix.startsWith('sol') || typeof row.label === 'number';
  // Social IQa has answerA to answerC, and labels from "1".
  const isSocial = prefix.startsWith('answer') && typeof row.label === 'string';
  const first = (isCounted && labels[0] === '1' && !isClass) || (isSocial && !isClass) ? 1 : 0;
  const value = { text: filled.map(({ name }) => row[name]), label: isCounted ? null : labels, first };
  return { choices: { name: columns[0]!.name, fields: columns.map(({ name }) => name), value } };
}
