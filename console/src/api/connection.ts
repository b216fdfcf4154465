// Whether the gateway can be reached. While it cannot, the console probes it and tells the views when it is back.

import type { Interceptor } from "@connectrpc/connect";
import { signal } from "@preact/signals";
import { isUnreachable } from "./problem";

const PROBE_MILLISECONDS = 2_000;

export const offline = signal(false);
/** Increases each time the gateway is reachable again. Views that failed load again. */
export const recoveries = signal(0);

export const observe: Interceptor = (next) => async (request) => {
  try {
    const response = await next(request);
    markOnline();
    return response;
  } catch (error) {
    if (isUnreachable(error)) markOffline();
    throw error;
  }
};

export function markOffline(): void {
  if (offline.value) return;
  offline.value = true;
  setTimeout(probe, PROBE_MILLISECONDS);
}

function markOnline(): void {
  if (!offline.value) return;
  offline.value = false;
  recoveries.value += 1;
}

async function probe(): Promise<void> {
  try {
    if ((await fetch("/readyz", { cache: "no-store" })).ok) return markOnline();
  } catch {
    // It is still unreachable.
  }
  if (offline.value) setTimeout(probe, PROBE_MILLISECONDS);
}
