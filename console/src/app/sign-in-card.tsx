// The card of the pages that need no session. Its first field has the focus.

import type { ComponentChildren, TargetedEvent } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { text } from "../strings";

interface Properties {
  title: string;
  onSubmit: (event: TargetedEvent<HTMLFormElement>) => void;
  children: ComponentChildren;
}

export function SignInCard({ title, onSubmit, children }: Properties) {
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => {
    document.title = `${title} · ${text.product}`;
    form.current?.querySelector<HTMLElement>("input, button")?.focus();
  }, [title]);
  return (
    <main class="sign-in">
      <form ref={form} class="card" onSubmit={onSubmit} noValidate>
        <p class="brand">
          <img src="icon.svg" alt="" width="28" height="28" />
          {text.product}
        </p>
        <h1>{title}</h1>
        {children}
      </form>
    </main>
  );
}
