// A list that grows by pages, with its states.

import type { ComponentChildren } from "preact";
import type { Pages } from "../api/pages";
import { text } from "../strings";
import { Failed, ProblemNotice, Skeleton } from "./states";

interface Properties<Item> {
  pages: Pages<Item>;
  failed: string;
  empty: ComponentChildren;
  children: (items: Item[]) => ComponentChildren;
}

export function PageList<Item>({ pages, failed, empty, children }: Properties<Item>) {
  const items = pages.items.value;
  const problem = pages.problem.value;
  if (problem && items.length === 0) {
    return <Failed title={failed} problem={problem} retry={() => void pages.restart()} />;
  }
  if (!pages.loaded.value) return <Skeleton rows={8} />;
  const notice = problem && <ProblemNotice title={failed} problem={problem} />;
  return (
    <>
      {pages.outdated.value && notice}
      <div class={pages.loading.value ? "stale" : ""} aria-busy={pages.loading.value}>
        {items.length === 0 ? empty : children(items)}
      </div>
      {!pages.outdated.value && notice}
      {pages.hasMore.value && (
        <button type="button" class="more" onClick={() => void pages.more()} disabled={pages.loading.value}>
          {pages.loading.value ? text.loadingMore : text.loadMore}
        </button>
      )}
    </>
  );
}
