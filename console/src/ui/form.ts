// The values of a form whose fields are read when it is submitted.

import type { TargetedEvent } from "preact";

export type FormValues = (name: string) => string;

/** Prevents the browser from sending a form, and returns a function that returns the value of a field. */
export function readForm(event: TargetedEvent<HTMLFormElement>): FormValues {
  event.preventDefault();
  const values = new FormData(event.currentTarget);
  return (name) => String(values.get(name) ?? "");
}
