// A short message after an action, which screen readers announce.

import { signal } from "@preact/signals";

const message = signal("");
let timer = 0;

export function announce(value: string): void {
  message.value = value;
  clearTimeout(timer);
  timer = window.setTimeout(() => (message.value = ""), 5_000);
}

export function Toast() {
  return (
    <div class="toast" role="status">
      {message.value && <span>{message.value}</span>}
    </div>
  );
}
