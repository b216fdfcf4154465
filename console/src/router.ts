// Routes in the fragment of the address, such as `#/patients/ID/history`.

import { signal } from "@preact/signals";

export const route = signal(read());

const MAIL_PAGES = ["forgot-password", "reset-password", "verify-email", "accept-invitation"] as const;

export interface MailPage {
  name: (typeof MAIL_PAGES)[number];
  /** The token of the mail. */
  token: string;
}

/** The page that is shown in place of the views. The gateway redirects links in mail to `?page=NAME#token=TOKEN`. */
export const mailPage = signal(readMailPage());

addEventListener("hashchange", () => (route.value = read()));

export function navigate(path: string): void {
  location.hash = path;
}

/** Replaces the current address without a new entry in the history. */
export function redirect(path: string): void {
  history.replaceState(null, "", `#${path}`);
  route.value = read();
}

export function openPage(name: MailPage["name"]): void {
  mailPage.value = { name, token: "" };
}

export function closePage(): void {
  mailPage.value = undefined;
}

/** Returns the page that a link in mail leads to, and removes its token from the address. */
function readMailPage(): MailPage | undefined {
  const name = MAIL_PAGES.find((each) => each === new URLSearchParams(location.search).get("page"));
  if (!name) return undefined;
  const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
  history.replaceState(null, "", location.pathname);
  route.value = read();
  return { name, token };
}

function read(): string[] {
  try {
    return location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decodeURIComponent);
  } catch {
    return [location.hash]; // an incomplete percent-encoding: no view has this name
  }
}
