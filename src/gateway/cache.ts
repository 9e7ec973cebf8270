/** What a cache did so far. */
export interface CacheStatistics {
  readonly hits: number;
  readonly misses: number;
  /** How many entries were dropped to make room for others. */
  readonly evicted: number;
  /** How many entries were dropped because they were too old. */
  readonly expired: number;
  readonly size: number;
}

interface Entry<Value> {
  readonly value: Value;
  /** The time in milliseconds when it is no longer good; Infinity: never. */
  readonly until: number;
}

/** A bounded map of values with an age. When it is full, the one that was not asked for the longest goes. */
export class Cache<Value> {
  readonly #entries = new Map<string, Entry<Value>>();
  /** An iterator that is kept: a new one would pass all entries that were deleted since the map was compacted. */
  readonly #oldest = this.#entries.keys();
  #youngest: string | undefined;
  #hits = 0;
  #misses = 0;
  #evicted = 0;
  #expired = 0;

  /**
   * @param capacity most entries
   * @param now the time in milliseconds
   * @param release what to do with a value that leaves
   */
  constructor(
    private readonly capacity: number,
    private readonly now: () => number,
    private readonly release: (value: Value) => void = () => {},
  ) {}

  /** The value that is still good; it becomes the youngest. */
  get(key: string): Value | undefined {
    const entry = this.#entries.get(key);
    const isExpired = entry !== undefined && !this.#isGood(entry);
    if (entry === undefined || isExpired) {
      this.#misses++;
      if (isExpired) this.#expired++;
      if (isExpired) this.#remove(key);
      return undefined;
    }
    this.#hits++;
    if (key !== this.#youngest) {
      this.#entries.delete(key);
      this.#entries.set(key, entry);
      this.#youngest = key;
    }
    return entry.value;
  }

  /** The value that is still good, without a sign that anybody asked. */
  peek(key: string): Value | undefined {
    const entry = this.#entries.get(key);
    return entry !== undefined && this.#isGood(entry) ? entry.value : undefined;
  }

  /** Keeps a value for so many milliseconds, Infinity for good. */
  set(key: string, value: Value, milliseconds: number): void {
    this.#remove(key);
    if (this.#entries.size >= this.capacity) {
      this.#remove(this.#oldest.next().value ?? "");
      this.#evicted++;
    }
    const isForGood = milliseconds === Number.POSITIVE_INFINITY;
    this.#entries.set(key, { value, until: isForGood ? milliseconds : this.now() + milliseconds });
    this.#youngest = key;
  }

  /** Lets all values go. */
  clear(): void {
    for (const key of [...this.#entries.keys()]) this.#remove(key);
  }

  get statistics(): CacheStatistics {
    return {
      hits: this.#hits,
      misses: this.#misses,
      evicted: this.#evicted,
      expired: this.#expired,
      size: this.#entries.size,
    };
  }

  /** What is kept for good is so without a look at the clock. */
  #isGood({ until }: Entry<Value>): boolean {
    return until === Number.POSITIVE_INFINITY || until > this.now();
  }

  #remove(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.release(entry.value);
  }
}
