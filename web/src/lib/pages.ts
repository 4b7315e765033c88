/** pages reads a list that is known to be short (items of a township, officers) to its end; more than 5,000 rows is a mistake. */
export async function pages<T>(get: (cursor: string | undefined) => Promise<{ items: T[]; next_cursor: string }>): Promise<T[]> {
  const all: T[] = [];
  let cursor: string | undefined;
  do {
    const p = await get(cursor);
    all.push(...p.items);
    cursor = p.next_cursor || undefined;
  } while (cursor && all.length < 5000);
  return all;
}
