/** A function that asks when it is first called, and gives that answer from then on. */
export function once<Result>(ask: () => Result): () => Result {
  let known: { readonly result: Result } | undefined;
  return () => {
    known ??= { result: ask() };
    return known.result;
  };
}
