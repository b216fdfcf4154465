// Small elements of content: names, times, identifiers and facts.

import type { Timestamp } from "@bufbuild/protobuf/wkt";
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { isoMinute, toDate } from "../format";
import { text } from "../strings";

/** User-supplied text in any script and direction. */
export function Text({ value }: { value: string }) {
  return <bdi dir="auto">{value}</bdi>;
}

export function Time({ at }: { at: Timestamp | undefined }) {
  const date = toDate(at);
  if (!date) return <span class="muted">{text.none}</span>;
  return (
    <time class="number" dateTime={date.toISOString()} title={date.toISOString()}>
      {isoMinute(date)}
    </time>
  );
}

/** An identifier that can be copied as a whole. */
export function Identifier({ value }: { value: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(value);
    setCopied(true);
    setTimeout(() => setCopied(false), 2_000);
  };
  return (
    <span class="identifier">
      <code>{value}</code>
      {navigator.clipboard && (
        <button type="button" class="quiet small" onClick={copy} aria-label={`${text.copy} ${value}`}>
          {copied ? text.copied : text.copy}
        </button>
      )}
    </span>
  );
}

export function Badge({ kind, children }: { kind: "neutral" | "good" | "bad" | "warning" | "accent"; children: string }) {
  return <span class={`badge ${kind}`}>{children}</span>;
}

/** A labeled value in a list of the class `facts`. */
export function Fact({ label, kind, children }: { label: string; kind?: "number" | "lines" | undefined; children: ComponentChildren }) {
  return (
    <div>
      <dt>{label}</dt>
      <dd class={kind}>{children}</dd>
    </div>
  );
}
