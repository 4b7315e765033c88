/** An idempotency key. randomUUID doesn't exist on plain HTTP, getRandomValues does. */
export function randomKey(): string {
  const b = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(b, (x) => x.toString(16).padStart(2, "0")).join("");
}
