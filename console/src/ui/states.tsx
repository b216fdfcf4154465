// States of a view: loading, empty and failed.

import type { ComponentChildren } from "preact";
import type { Problem } from "../api/problem";
import { text } from "../strings";
import { Icon } from "./icons";

export function Skeleton({ rows }: { rows: number }) {
  return (
    <div class="skeleton" role="status" aria-label={text.loading}>
      {Array.from({ length: rows }, (_, row) => (
        <span key={row} />
      ))}
    </div>
  );
}

export function Empty({ title, hint, children }: { title: string; hint: string; children?: ComponentChildren }) {
  return (
    <div class="state">
      <h2>{title}</h2>
      <p>{hint}</p>
      {children}
    </div>
  );
}

export function Failed({ title, problem, retry }: { title: string; problem: Problem; retry: () => void }) {
  return (
    <div class="state" role="alert">
      <h2>{title}</h2>
      <p>{problem.message}</p>
      {problem.requestId && <p class="muted small">{text.requestId(problem.requestId)}</p>}
      <button type="button" onClick={retry}>
        {text.retry}
      </button>
    </div>
  );
}

export function Notice({ kind, children }: { kind: "info" | "warning" | "error"; children: ComponentChildren }) {
  return (
    <div class={`notice ${kind}`} role={kind === "error" ? "alert" : "status"}>
      {kind !== "info" && <Icon name="warning" />}
      <div>{children}</div>
    </div>
  );
}

export function ProblemNotice({ title, problem }: { title: string; problem: Problem }) {
  return (
    <Notice kind="error">
      <strong>{title}</strong>
      <p>{problem.message}</p>
      {problem.requestId && <p class="small">{text.requestId(problem.requestId)}</p>}
    </Notice>
  );
}
