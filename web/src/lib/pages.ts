const most = 5000;

/** pages reads a list that is known to be short (items of a township, officers) to its end; a longer one is a mistake, not a reason to cut it. */
export async function pages<T>(get: (cursor: string | undefined) => Promise<{ items: T[]; next_cursor: string }>): Promise<T[]> {
  const all: T[] = [];
  let cursor: string | undefined;
  do {
    const p = await get(cursor);
    all.push(...p.items);
    if (all.length > most) throw new Error(`more than ${most} rows where a short list was expected`);
    cursor = p.next_cursor || undefined;
  } while (cursor);
  return all;
}
