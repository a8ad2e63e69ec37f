/** Rows by the id of their example. Pure. */

/** The rows of each id, in their order; ids in the order in which they occur first. */
export function groupById<Row extends { id: string }>(rows: Iterable<Row>): Map<string, Row[]> {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const group = groups.get(row.id);
    if (group) group.push(row);
    else groups.set(row.id, [row]);
  }
  return groups;
}
