// The frame of a view: its title, actions and content.

import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { text } from "../strings";
import { Icon } from "./icons";

interface Properties {
  title: string;
  heading?: ComponentChildren;
  back?: string;
  actions?: ComponentChildren;
  children: ComponentChildren;
}

export function Page({ title, heading, back, actions, children }: Properties) {
  const focus = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${title} · ${text.product}`;
  }, [title]);
  useEffect(() => focus.current?.focus({ preventScroll: true }), []);
  return (
    <>
      <header class="page-header">
        {back && (
          <a class="back" href={`#${back}`} aria-label={text.back}>
            <Icon name="back" />
          </a>
        )}
        <h1 ref={focus} tabIndex={-1}>
          {heading ?? title}
        </h1>
        <div class="actions">{actions}</div>
      </header>
      {children}
    </>
  );
}
