// Hooks that load data for a view, and load it again after the gateway was unreachable.

import { useEffect, useMemo, useState } from "preact/hooks";
import { recoveries } from "./connection";
import { Pages } from "./pages";
import { isAborted, toProblem, type Problem } from "./problem";

export interface Loaded<Value> {
  value: Value | undefined;
  problem: Problem | undefined;
  reload: () => void;
  set: (value: Value) => void;
}

/** Loads a value, and again when an input changes. */
export function useLoaded<Value>(load: (signal: AbortSignal) => Promise<Value>, inputs: unknown[]): Loaded<Value> {
  const [state, setState] = useState<{ value?: Value; problem?: Problem }>({});
  const [attempt, setAttempt] = useState(0);
  const reload = () => setAttempt((count) => count + 1);
  useRecovery(state.problem !== undefined, reload);
  useEffect(() => {
    const abort = new AbortController();
    load(abort.signal).then(
      (value) => abort.signal.aborted || setState({ value }),
      (error: unknown) => abort.signal.aborted || isAborted(error) || setState({ problem: toProblem(error) }),
    );
    return () => abort.abort();
  }, [...inputs, attempt]);
  return {
    value: state.value,
    problem: state.problem,
    reload,
    set: (value) => setState({ value }),
  };
}

/** Calls a list method for the first page, and again when an input changes. */
export function usePages<Response extends { nextPageToken: string }, Item>(
  call: (pageToken: string, signal: AbortSignal) => Promise<Response>,
  itemsOf: (response: Response) => Item[],
  inputs: unknown[],
): Pages<Item> {
  const load = async (pageToken: string, signal: AbortSignal) => {
    const response = await call(pageToken, signal);
    return { items: itemsOf(response), nextPageToken: response.nextPageToken };
  };
  const pages = useMemo(() => new Pages(load), inputs);
  useRestarts(pages);
  return pages;
}

/** Loads the first page unless it is loaded, and again after the gateway was unreachable. */
export function useRestarts<Item>(pages: Pages<Item>): void {
  useRecovery(pages.problem.value !== undefined, () => void pages.restart());
  useEffect(() => {
    if (!pages.loaded.peek()) void pages.restart();
    return () => pages.stop();
  }, [pages]);
}

function useRecovery(failed: boolean, retry: () => void): void {
  useEffect(() => {
    const since = recoveries.peek();
    return failed ? recoveries.subscribe((count) => count !== since && retry()) : undefined;
  }, [failed]);
}
