// A list that is read page by page. Pages are appended, so what is already shown does not move.

import { signal } from "@preact/signals";
import { isAborted, toProblem, type Problem } from "./problem";

export interface Page<Item> {
  items: Item[];
  nextPageToken: string;
}

export class Pages<Item> {
  readonly items = signal<Item[]>([]);
  readonly loading = signal(false);
  /** Whether a first page has been loaded since the list was created. */
  readonly loaded = signal(false);
  readonly hasMore = signal(false);
  readonly problem = signal<Problem | undefined>(undefined);
  /** Whether the items are those of an earlier request, because the first page could not be loaded. */
  readonly outdated = signal(false);

  #token = "";
  #abort = new AbortController();
  readonly #load: (pageToken: string, signal: AbortSignal) => Promise<Page<Item>>;

  constructor(load: (pageToken: string, signal: AbortSignal) => Promise<Page<Item>>) {
    this.#load = load;
  }

  /** Loads the first page. The previous items stay until it has arrived. */
  restart(): Promise<void> {
    return this.#next("", (found) => found);
  }

  more(): Promise<void> {
    return this.#next(this.#token, (found) => [...this.items.value, ...found]);
  }

  stop(): void {
    this.#abort.abort();
    this.loading.value = false;
  }

  async #next(pageToken: string, combine: (found: Item[]) => Item[]): Promise<void> {
    this.#abort.abort();
    const { signal } = (this.#abort = new AbortController());
    this.loading.value = true;
    this.problem.value = undefined;
    try {
      let page = await this.#load(pageToken, signal);
      while (page.items.length === 0 && page.nextPageToken) page = await this.#load(page.nextPageToken, signal);
      if (signal.aborted) return;
      this.items.value = combine(page.items);
      this.#token = page.nextPageToken;
      this.hasMore.value = page.nextPageToken !== "";
      this.loaded.value = true;
      this.outdated.value = false;
    } catch (error) {
      if (signal.aborted || isAborted(error)) return;
      this.problem.value = toProblem(error);
      this.outdated.value = pageToken === "";
    }
    this.loading.value = false;
  }
}
