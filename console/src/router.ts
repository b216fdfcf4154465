// Routes in the fragment of the address, such as `#/patients/ID/history`.

import { signal } from "@preact/signals";

export const route = signal(read());

addEventListener("hashchange", () => (route.value = read()));

export function navigate(path: string): void {
  location.hash = path;
}

/** Replaces the current address without a new entry in the history. */
export function redirect(path: string): void {
  history.replaceState(null, "", `#${path}`);
  route.value = read();
}

function read(): string[] {
  try {
    return location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decodeURIComponent);
  } catch {
    return [location.hash]; // an incomplete percent-encoding: no view has this name
  }
}
